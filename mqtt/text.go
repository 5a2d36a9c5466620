package mqtt

import "unicode/utf8"

// MaxString is the most bytes a string or binary field may have (MQTT 5 section 1.5.4).
const MaxString = 65535

// checkText applies MQTT 5 section 1.5.4: well-formed UTF-8 without surrogates, no U+0000. Unless lax, it also refuses what
// the standard allows a receiver to refuse: control characters and code points that are not characters.
func checkText(b []byte, lax bool) error {
	i := 0
	for i < len(b) && b[i] >= 0x20 && b[i] < 0x7F {
		i++
	}
	if i == len(b) {
		return nil
	}
	for i < len(b) {
		r, n := utf8.DecodeRune(b[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return malformed("MQTT-1.5.4-1", "a string is not UTF-8")
		case r == 0:
			return malformed("MQTT-1.5.4-2", "a string holds the character U+0000")
		case !lax && unwelcome(r):
			return malformed("section 1.5.4", "a string holds a control character or a code point that is not a character")
		}
		i += n
	}
	return nil
}

// unwelcome reports control characters (C0, DEL, C1) and Unicode noncharacters.
func unwelcome(r rune) bool {
	return r < 0x20 || r >= 0x7F && r <= 0x9F || r >= 0xFDD0 && r <= 0xFDEF || r&0xFFFE == 0xFFFE
}
