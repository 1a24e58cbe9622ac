package nodeconfig

import (
	"encoding/hex"
	"errors"
	"net"
	"strings"
)

// DefaultHostname returns the name of a node whose config gives none: the board
// and the last three bytes of the MAC of its first wired interface, as in
// rpi4-a1b2c3. Without a MAC it is the board alone. What a board's name may
// have and a hostname may not becomes a hyphen, as in x86-64-a1b2c3.
func DefaultHostname(board string, mac net.HardwareAddr) string {
	name := []byte(strings.ToLower(board))
	for i, c := range name {
		if !isLabelByte(c) {
			name[i] = '-'
		}
	}
	const suffix = 7 // a hyphen and six digits
	host := strings.Trim(string(name[:min(len(name), maxHostname-suffix)]), "-")
	if host == "" {
		host = "skerry"
	}
	if len(mac) >= 3 {
		host += "-" + hex.EncodeToString(mac[len(mac)-3:])
	}
	return host
}

const maxHostname = 63 // RFC 1123, section 2.1, and RFC 1035, section 2.3.4

func isLabelByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
}

// checkHostname says what is wrong with name as one label of RFC 1123, section
// 2.1, in lower case, which Kubernetes asks of a node's name.
func checkHostname(name string) error {
	if name == "" || len(name) > maxHostname {
		return errors.New("a hostname has 1 to 63 characters")
	}
	if strings.ToLower(name) != name {
		return errors.New("a hostname is written in lower case: Kubernetes wants it so")
	}
	if strings.Contains(name, ".") {
		return errors.New("a hostname is one name without dots: leave the domain out")
	}
	for i := range len(name) {
		if !isLabelByte(name[i]) {
			return errors.New("a hostname has letters, digits and hyphens only")
		}
	}
	if name[0] == '-' || name[len(name)-1] == '-' {
		return errors.New("a hostname begins and ends with a letter or a digit")
	}
	return nil
}

// isDomain reports whether name can be resolved in the DNS: labels of letters,
// digits and hyphens, the last of which is no number (RFC 1123, section 2.1).
func isDomain(name string) bool {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	labels := strings.Split(name, ".")
	if len(name) > 253 {
		return false
	}
	for _, label := range labels {
		if checkHostname(label) != nil {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}
