package conf

import (
	"encoding"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

func isText(v reflect.Value) bool {
	if !v.CanAddr() {
		return false
	}
	_, ok := v.Addr().Interface().(encoding.TextUnmarshaler)
	return ok
}

// shown is a scalar as a message may cite it.
func shown(n Node) string {
	text, ok := n.Text()
	if !ok {
		return n.Kind().String()
	}
	if len(text) > 60 {
		text = text[:60] + "…"
	}
	return strconv.Quote(text)
}

// text fills a value that reads itself from text.
func (d *decoder) text(n Node, v reflect.Value) {
	text, ok := n.Text()
	if !ok {
		d.add(n.Errorf("want text, got %s", n.Kind()))
		return
	}
	var err error
	want := ""
	switch to := v.Addr().Interface().(type) {
	case *netip.Addr:
		want = "an IP address"
		*to, err = netip.ParseAddr(text)
	case *netip.Prefix:
		want = "an IP address with a prefix length such as 10.0.0.0/8"
		*to, err = netip.ParsePrefix(text)
	case *netip.AddrPort:
		want = "an IP address with a port such as 10.0.0.1:53"
		*to, err = netip.ParseAddrPort(text)
	case encoding.TextUnmarshaler:
		err = to.UnmarshalText([]byte(text))
	}
	switch {
	case err != nil && want != "":
		d.add(n.Errorf("want %s, got %s", want, shown(n)))
	case err != nil:
		d.add(n.Errorf("%v", err))
	}
}

// scalar fills a string, bool or number.
func (d *decoder) scalar(n Node, v reflect.Value, l limits) {
	if n.Kind() != Scalar {
		d.add(n.Errorf("want %s, got %s", wanted(v), n.Kind()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		d.str(n, v, l)
	case reflect.Bool:
		d.boolean(n, v)
	case reflect.Float32, reflect.Float64:
		d.float(n, v)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.Type().PkgPath() == "time" {
			panic("conf: cannot decode into " + v.Type().String() + ": a duration is a number with the unit in its key")
		}
		d.integer(n, v, l)
	default:
		panic("conf: cannot decode into " + v.Type().String())
	}
}

func wanted(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	}
	return "a number"
}

// str takes a scalar as the file spells it. Loosely, a boolean is not text.
func (d *decoder) str(n Node, v reflect.Value, l limits) {
	text := n.v.text
	if n.v.tag == tagBool && d.mode != Strict {
		d.add(n.Errorf("want text, got a boolean; put it in quotes"))
		return
	}
	if l.enum != nil {
		i := slices.IndexFunc(l.enum, func(w string) bool { return w == text || l.fold && strings.EqualFold(w, text) })
		if i < 0 {
			d.add(n.Errorf("must be %s, got %s%s", oneOf(l.enum), citable(n, v), suggestFor(v, text, l.enum)))
			return
		}
		text = l.enum[i]
	}
	v.SetString(text)
}

// citable is shown, but never a secret.
func citable(n Node, v reflect.Value) string {
	if v.Type() == reflect.TypeFor[framework.Secret]() {
		return "***"
	}
	return shown(n)
}

func suggestFor(v reflect.Value, text string, known []string) string {
	if v.Type() == reflect.TypeFor[framework.Secret]() {
		return ""
	}
	return suggest(text, known)
}

func oneOf(words []string) string {
	shown := make([]string, len(words))
	for i, w := range words {
		shown[i] = w
		if w == "" {
			shown[i] = "empty"
		}
	}
	if len(shown) == 1 {
		return shown[0]
	}
	return strings.Join(shown[:len(shown)-1], ", ") + " or " + shown[len(shown)-1]
}

// boolean takes true and false, and yes, no, on, off without quotes as YAML
// 1.1 had them; loosely also a number, which is true unless it is 0.
func (d *decoder) boolean(n Node, v reflect.Value) {
	if n.v.tag == tagBool {
		v.SetBool(strings.EqualFold(n.v.text, "true"))
		return
	}
	if b, ok := oldBool(n.v); ok {
		v.SetBool(b)
		if d.mode != Strict {
			d.add(n.Warnf("loose spelling; write %t", b))
		}
		return
	}
	if d.mode != Strict && n.v.tag == tagInt {
		neg, mag, ok := integerOf(n.v.text)
		b := ok && (neg || mag != 0)
		v.SetBool(b)
		d.add(n.Warnf("loose spelling; write %t", b))
		return
	}
	quoted := ""
	if !n.v.plain {
		quoted = " in quotes"
	}
	d.add(n.Errorf("want true or false, got %s%s", shown(n), quoted))
}

// oldBool reads the booleans of YAML 1.1.
func oldBool(v *value) (b, ok bool) {
	if !v.plain || v.tag != tagString {
		return false, false
	}
	switch v.text {
	case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
		return true, true
	case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
		return false, true
	}
	return false, false
}

// float takes a number.
func (d *decoder) float(n Node, v reflect.Value) {
	f, ok := 0.0, false
	switch {
	case n.v.tag == tagInt:
		neg, mag, isInt := integerOf(n.v.text)
		f, ok = float64(mag), isInt
		if neg {
			f = -f
		}
	case n.v.tag == tagFloat || d.mode != Strict && n.v.tag == tagString:
		f, ok = floatOf(n.v.text)
	}
	if !ok {
		d.add(n.Errorf("want a number, got %s", shown(n)))
		return
	}
	v.SetFloat(f)
}

func floatOf(text string) (float64, bool) {
	f, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64)
	return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
}

// integer takes an integer in any base of YAML and a float without a fraction;
// loosely also one with a fraction, which is cut, and text with an integer.
func (d *decoder) integer(n Node, v reflect.Value, l limits) {
	neg, mag, ok := d.number(n)
	if !ok {
		quoted := ""
		if n.v.tag == tagString && !n.v.plain {
			quoted = " in quotes"
		}
		d.add(n.Errorf("want a whole number, got %s%s", shown(n), quoted))
		return
	}
	if !setInteger(v, neg, mag) {
		d.add(n.Errorf("%s does not fit: want a whole number %s", shown(n), rangeOf(v)))
		return
	}
	if l.min != nil && below(neg, mag, *l.min) {
		d.add(n.Errorf("must be at least %d, got %s", *l.min, n.v.text))
	} else if l.max != nil && above(neg, mag, *l.max) {
		d.add(n.Errorf("must be at most %d, got %s", *l.max, n.v.text))
	}
}

func (d *decoder) number(n Node) (neg bool, mag uint64, ok bool) {
	switch n.v.tag {
	case tagInt:
		return integerOf(n.v.text)
	case tagFloat:
		f, isFloat := floatOf(n.v.text)
		whole := math.Trunc(f)
		if !isFloat || math.Abs(whole) >= 1<<63 || whole != f && d.mode == Strict {
			return false, 0, false
		}
		if whole != f {
			d.add(n.Warnf("fraction is cut; write %.0f", whole))
		}
		return whole < 0, uint64(math.Abs(whole)), true
	case tagString:
		if d.mode == Strict {
			return false, 0, false
		}
		neg, mag, ok = integerOf(n.v.text)
		if ok {
			d.add(n.Warnf("loose spelling; write the number without quotes"))
		}
	}
	return neg, mag, ok
}

// integerOf reads an integer with an optional sign and base: 7890, 7_890,
// 0x1ed2, 0o17302, 017302, 0b11.
func integerOf(text string) (neg bool, mag uint64, ok bool) {
	text = strings.ReplaceAll(text, "_", "")
	switch {
	case strings.HasPrefix(text, "-"):
		neg, text = true, text[1:]
	case strings.HasPrefix(text, "+"):
		text = text[1:]
	}
	mag, err := strconv.ParseUint(text, 0, 64)
	return neg && mag != 0, mag, err == nil
}

func setInteger(v reflect.Value, neg bool, mag uint64) bool {
	if v.CanUint() {
		if neg || v.OverflowUint(mag) {
			return false
		}
		v.SetUint(mag)
		return true
	}
	i, ok := signed(neg, mag)
	if !ok || v.OverflowInt(i) {
		return false
	}
	v.SetInt(i)
	return true
}

func signed(neg bool, mag uint64) (int64, bool) {
	if neg {
		return -int64(mag), mag <= 1<<63
	}
	return int64(mag), mag < 1<<63
}

func below(neg bool, mag uint64, limit int64) bool {
	i, ok := signed(neg, mag)
	return ok && i < limit || !ok && neg
}

func above(neg bool, mag uint64, limit int64) bool {
	i, ok := signed(neg, mag)
	return ok && i > limit || !ok && !neg
}

func rangeOf(v reflect.Value) string {
	bits := v.Type().Bits()
	if v.CanUint() {
		return "from 0 to " + strconv.FormatUint(1<<bits-1, 10)
	}
	return "of at most " + strconv.Itoa(bits) + " bits"
}
