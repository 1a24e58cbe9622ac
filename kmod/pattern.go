package kmod

// fold makes '-' and '_' the same, as modprobe does for names and aliases.
func fold(c byte) byte {
	if c == '-' {
		return '_'
	}
	return c
}

// matchPattern reports whether the whole of s matches an alias pattern: fnmatch(3)
// without flags, '-' and '_' equal outside of brackets. It takes no memory, and
// goes back to the last star only, so its time is at most len(pattern)·len(s).
func matchPattern(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		width, ok := 0, false
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, mark = p, i
				p++
				continue
			}
			width, ok = matchOne(pattern[p:], s[i])
		}
		switch {
		case ok:
			p += width
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches one character against the first element of a pattern that
// is no star, and returns the width of the element.
func matchOne(pattern string, c byte) (width int, ok bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '\\':
		if len(pattern) > 1 {
			return 2, fold(pattern[1]) == fold(c)
		}
	case '[':
		if width, ok, closed := matchBracket(pattern, c); closed {
			return width, ok
		}
	}
	return 1, fold(pattern[0]) == fold(c)
}

// matchBracket matches "[a-z]", "[!a-z]" and "[^a-z]". A "]" that comes first is
// a member. Without an end the bracket stands for itself.
func matchBracket(pattern string, c byte) (width int, ok, closed bool) {
	i := 1
	negated := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if negated {
		i++
	}
	for first := true; i < len(pattern); first = false {
		if pattern[i] == ']' && !first {
			return i + 1, ok != negated, true
		}
		low := pattern[i]
		high := low
		if i+2 < len(pattern) && pattern[i+1] == '-' && pattern[i+2] != ']' {
			high = pattern[i+2]
			i += 2
		}
		i++
		if low <= c && c <= high {
			ok = true
		}
	}
	return 0, false, false
}

// longestLiteral returns the longest part of a pattern that every match has in
// it as it stands, and whether the pattern is nothing but that.
func longestLiteral(pattern string) (literal string, exact bool) {
	exact = true
	start := 0
	for i := 0; i <= len(pattern); {
		next := i + 1
		if i < len(pattern) {
			switch pattern[i] {
			case '*', '?':
			case '\\':
				next++
			case '[':
				width, _, closed := matchBracket(pattern[i:], 0)
				if !closed {
					i++
					continue
				}
				next = i + width
			default:
				i++
				continue
			}
			exact = false
		}
		if i-start > len(literal) {
			literal = pattern[start:i]
		}
		i, start = next, next
	}
	return literal, exact
}
