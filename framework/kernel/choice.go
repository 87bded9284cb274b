package kernel

import (
	"errors"
	"fmt"
	"slices"

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
	if slices.Contains(n.Members.Names(), member) {
		k.testPin(n, member)
	}
	if err := sel.Select(member, n.Members); err != nil {
		return err
	}
	k.storeChoice(group, member)
	return nil
}

// Unpin clears the pin of a group that picks by itself. Errors: ErrNotFound,
// ErrNotSelector for all others.
func (k *Kernel) Unpin(group string) error {
	n := k.Snapshot().Nodes[group]
	if n == nil {
		return fmt.Errorf("%q: %w", group, ErrNotFound)
	}
	sel, ok := n.Group.(framework.Selector)
	if !ok || !n.Type.Has(framework.CapTested) {
		return fmt.Errorf("%q: %w", group, ErrNotSelector)
	}
	if sel.Selected() == "" && k.Store.Selected(group) == "" {
		return nil
	}
	if err := sel.Select("", n.Members); err != nil {
		return err
	}
	k.storeChoice(group, "")
	return nil
}

// storeChoice keeps a choice on disk where profile.store-selected says so.
func (k *Kernel) storeChoice(group, member string) {
	if !k.State().Document.Profile.StoreSelected || k.Store == nil {
		return
	}
	if err := k.Store.SetSelected(group, member); err != nil {
		k.Log.Warn("selection is not stored", "group", group, "err", err)
	}
}
