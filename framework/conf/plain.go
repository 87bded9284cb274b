package conf

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash"
	"slices"
	"strconv"
	"strings"
)

// JSON is the value as JSON, keys in file order. Numbers and booleans are
// those of YAML; a number that JSON cannot hold is text. An absent value is
// null.
func (n Node) JSON() ([]byte, error) {
	var b bytes.Buffer
	err := writeJSON(&b, n.v)
	return b.Bytes(), err
}

func writeJSON(b *bytes.Buffer, v *value) error {
	switch {
	case v == nil || v.kind == Null:
		b.WriteString("null")
	case v.kind == Scalar:
		return writeScalar(b, v)
	case v.kind == List:
		b.WriteByte('[')
		for i, c := range v.items {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeJSON(b, c); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	default:
		b.WriteByte('{')
		for i, e := range v.entries {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeText(b, e.key.text); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := writeJSON(b, e.val); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	}
	return nil
}

func writeScalar(b *bytes.Buffer, v *value) error {
	switch p := plain(v).(type) {
	case string:
		return writeText(b, p)
	default:
		text, err := json.Marshal(p)
		b.Write(text)
		return err
	}
}

func writeText(b *bytes.Buffer, s string) error {
	text, err := json.Marshal(s)
	b.Write(text)
	return err
}

// Plain is the value as the types of encoding/json, with int64 and uint64 for
// whole numbers: map[string]any, []any, string, bool, float64 or nil.
func (n Node) Plain() any { return plain(n.v) }

func plain(v *value) any {
	switch {
	case v == nil || v.kind == Null:
		return nil
	case v.kind == List:
		out := make([]any, len(v.items))
		for i, c := range v.items {
			out[i] = plain(c)
		}
		return out
	case v.kind == Map:
		out := make(map[string]any, len(v.entries))
		for _, e := range v.entries {
			out[e.key.text] = plain(e.val)
		}
		return out
	}
	return plainScalar(v)
}

func plainScalar(v *value) any {
	switch v.tag {
	case tagBool:
		return strings.EqualFold(v.text, "true")
	case tagInt:
		neg, mag, ok := integerOf(v.text)
		if i, fits := signed(neg, mag); ok && fits {
			return i
		} else if ok && !neg {
			return mag
		}
	case tagFloat:
		if f, ok := floatOf(v.text); ok {
			return f
		}
	}
	return v.text
}

// Hash is a digest of the value with aliases and merges resolved. It does not
// depend on place, quoting, style and the order of keys; it does on the text
// of scalars, since the same text may be decoded as a number or not.
func (n Node) Hash() [32]byte {
	h := sha256.New()
	writeHash(h, n.v)
	return [32]byte(h.Sum(nil))
}

// writeHash writes kind, length and content, so that no two values write the
// same bytes.
func writeHash(h hash.Hash, v *value) {
	if v == nil {
		h.Write([]byte{byte(Absent)})
		return
	}
	switch v.kind {
	case Scalar:
		hashText(h, Scalar, v.text)
	case List:
		hashText(h, List, strconv.Itoa(len(v.items)))
		for _, c := range v.items {
			writeHash(h, c)
		}
	case Map:
		hashText(h, Map, strconv.Itoa(len(v.entries)))
		sorted := slices.Clone(v.entries)
		slices.SortFunc(sorted, func(a, b entry) int { return strings.Compare(a.key.text, b.key.text) })
		for _, e := range sorted {
			hashText(h, Scalar, e.key.text)
			writeHash(h, e.val)
		}
	default:
		h.Write([]byte{byte(v.kind)})
	}
}

func hashText(h hash.Hash, k Kind, text string) {
	var head [9]byte
	head[0] = byte(k)
	binary.BigEndian.PutUint64(head[1:], uint64(len(text)))
	h.Write(head[:])
	h.Write([]byte(text))
}
