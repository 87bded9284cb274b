package top

import (
	"strings"
	"unicode"
)

// clip cuts a line to width columns. Control characters, which a host name or
// a proxy's name may bring, never reach the terminal.
func clip(line string, width int) string {
	text, _ := cut(line, width)
	return strings.TrimRight(text, " ")
}

// pad cuts or fills text to exactly width columns.
func pad(text string, width int) string {
	text, used := cut(text, width)
	return text + strings.Repeat(" ", width-used)
}

// cut returns the part of text that fits in width columns, and its columns.
func cut(text string, width int) (part string, used int) {
	var b strings.Builder
	for _, r := range text {
		if !unicode.IsPrint(r) {
			r = '?'
		}
		w := columns(r)
		if used+w > width {
			break
		}
		used += w
		b.WriteRune(r)
	}
	return b.String(), used
}

// columns is how wide a terminal draws r: 0 for marks that combine, 2 for East
// Asian wide characters and emoji (Unicode UAX #11, the blocks that names of
// proxies use), else 1.
func columns(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r < 0x1100:
		return 1
	case r <= 0x115f, r >= 0x2e80 && r <= 0x303e, r >= 0x3041 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff,
		r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6, r >= 0x1f1e6 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// overwrite makes a frame that is drawn over another: each line clears what is
// right of it, and the last one does not scroll.
func overwrite(frame string) string {
	return strings.ReplaceAll(strings.TrimSuffix(frame, "\n"), "\n", clearLine+"\r\n") + clearLine
}
