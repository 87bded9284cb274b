package conf

// Nearest is the word of known that word was probably meant to be, "" when
// none is near: at most a third of its letters may be wrong.
func Nearest(word string, known []string) string {
	if len(word) < 3 {
		return ""
	}
	best, bestDist := "", len(word)/3+1
	for _, k := range known {
		if k == word {
			continue
		}
		if d := distance(fold(word), fold(k), bestDist); d < bestDist {
			best, bestDist = k, d
		}
	}
	return best
}

// suggest is "; did you mean X?", "" when nothing is near.
func suggest(word string, known []string) string {
	if w := Nearest(word, known); w != "" {
		return "; did you mean " + quoteWord(w) + "?"
	}
	return ""
}

func quoteWord(w string) string { return "\"" + w + "\"" }

// fold makes spellings of one key equal: lower case, - for _.
func fold(s string) string {
	b := []byte(s)
	for i, c := range b {
		switch {
		case c >= 'A' && c <= 'Z':
			b[i] = c + 'a' - 'A'
		case c == '_':
			b[i] = '-'
		}
	}
	return string(b)
}

// distance counts the single-byte edits and swaps of neighbours between a and
// b; it gives up with limit when the count reaches that.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	older, old, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range old {
		old[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(old[j]+1, cur[j-1]+1, old[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], older[j-2]+1)
			}
		}
		older, old, cur = old, cur, older
	}
	return min(old[len(b)], limit)
}
