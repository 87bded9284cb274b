package kernel

import (
	"errors"
	"fmt"

	"github.com/culvert-proxy/culvert/framework"
)

// The errors of Select beside framework.ErrNotMember.
var (
	ErrNotFound    = errors.New("no such proxy")
	ErrNotSelector = errors.New("no group whose member can be chosen")
)

// Select chooses the member of a group. With profile.store-selected the choice
// is on disk when it returns.
func (k *Kernel) Select(group, member string) error {
	n := k.Snapshot().Nodes[group]
	if n == nil {
		return fmt.Errorf("%q: %w", group, ErrNotFound)
	}
	sel, ok := n.Group.(framework.Selector)
	if !ok {
		return fmt.Errorf("%q: %w", group, ErrNotSelector)
	}
	if member == "" {
		return fmt.Errorf("%q: %w", member, framework.ErrNotMember)
	}
	if err := sel.Select(member, n.Members); err != nil {
		return err
	}
	if !k.State().Document.Profile.StoreSelected || k.Store == nil {
		return nil
	}
	if err := k.Store.SetSelected(group, member); err != nil {
		k.Log.Warn("selection is not stored", "group", group, "err", err)
	}
	return nil
}
