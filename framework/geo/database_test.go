package geo

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
)

// database writes a MaxMind database of IPv4 prefixes (MaxMind DB format 2.0):
// a tree with records of 24 bits, the records' data, and the metadata.
func database(typ string, records map[string]any) []byte {
	type node [2]int // below 0: data, at -n-1; 0: none
	nodes := []node{{}}
	var data []byte
	for _, p := range slices.Sorted(maps.Keys(records)) {
		prefix := netip.MustParsePrefix(p)
		bits := binary.BigEndian.Uint32(prefix.Addr().AsSlice())
		at := 0
		for i := range prefix.Bits() {
			side := int(bits >> (31 - i) & 1)
			if i == prefix.Bits()-1 {
				nodes[at][side] = -len(data) - 1
				break
			}
			if nodes[at][side] == 0 {
				nodes[at][side] = len(nodes)
				nodes = append(nodes, node{})
			}
			at = nodes[at][side]
		}
		data = append(data, encode(records[p])...)
	}
	var out []byte
	for _, n := range nodes {
		for _, v := range n {
			switch {
			case v == 0:
				v = len(nodes)
			case v < 0:
				v = len(nodes) + 16 + -v - 1
			}
			out = append(out, byte(v>>16), byte(v>>8), byte(v))
		}
	}
	out = append(append(out, make([]byte, 16)...), data...)
	out = append(out, "\xab\xcd\xefMaxMind.com"...)
	return append(out, encode(map[string]any{
		"binary_format_major_version": 2, "binary_format_minor_version": 0, "build_epoch": 1, "database_type": typ,
		"description": map[string]any{"en": "test"}, "ip_version": 4, "languages": []any{}, "node_count": len(nodes), "record_size": 24,
	})...)
}

// encode writes a value: control byte type<<5|size, then the value; types above
// 7 have their number less 7 in a second byte.
func encode(v any) []byte {
	switch v := v.(type) {
	case string:
		return append(head(2, len(v)), v...)
	case int: // as an unsigned 32-bit number
		return binary.BigEndian.AppendUint32(head(6, 4), uint32(v))
	case map[string]any:
		out := head(7, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			out = append(append(out, encode(k)...), encode(v[k])...)
		}
		return out
	case []any:
		out := []byte{byte(len(v)), 11 - 7}
		for _, e := range v {
			out = append(out, encode(e)...)
		}
		return out
	}
	panic("no such type")
}

func head(typ, size int) []byte {
	if size < 29 {
		return []byte{byte(typ<<5 | size)}
	}
	return []byte{byte(typ<<5 | 29), byte(size - 29)}
}
