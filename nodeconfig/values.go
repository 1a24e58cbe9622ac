package nodeconfig

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"time"
)

// Role is the part a node has in a cluster.
type Role string

const (
	RoleServer Role = "server" // control plane and node
	RoleAgent  Role = "agent"  // node only
)

// UnmarshalText reads one of the two roles.
func (r *Role) UnmarshalText(text []byte) error {
	switch role := Role(text); role {
	case RoleServer, RoleAgent:
		*r = role
		return nil
	}
	return errors.New("the role is server or agent")
}

// MAC is a hardware address of six bytes.
type MAC [6]byte

// MACPattern is a regular expression that hardware addresses match.
const MACPattern = `^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$`

// String returns the address as the kernel writes it, as in dc:a6:32:01:02:03.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// MarshalText returns what String does.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads six bytes in hexadecimal with colons between them.
func (m *MAC) UnmarshalText(text []byte) error {
	digits := strings.ReplaceAll(string(text), ":", "")
	mac, err := net.ParseMAC(string(text))
	if err != nil || len(mac) != len(m) || len(text) != 17 || len(digits) != 12 {
		return errors.New("a MAC is six bytes in hexadecimal, as in dc:a6:32:01:02:03")
	}
	copy(m[:], mac)
	return nil
}

// Day is a day of the week, written as its first three letters.
type Day time.Weekday

var dayNames = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// DayNames returns the names of the days, from Sunday, as time.Weekday counts.
func DayNames() []string { return append([]string(nil), dayNames[:]...) }

// String returns the name as it is written in the file.
func (d Day) String() string { return dayNames[d%7] }

// MarshalText returns what String does.
func (d Day) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the name of a day.
func (d *Day) UnmarshalText(text []byte) error {
	for i, name := range dayNames {
		if name == string(text) {
			*d = Day(i)
			return nil
		}
	}
	return errors.New("a day is one of mon, tue, wed, thu, fri, sat, sun")
}

// TimeOfDay is a number of minutes after midnight.
type TimeOfDay int

// TimeOfDayPattern is a regular expression that times of day match.
const TimeOfDayPattern = `^([01][0-9]|2[0-3]):[0-5][0-9]$`

// String returns the time as in 02:00.
func (t TimeOfDay) String() string { return fmt.Sprintf("%02d:%02d", int(t)/60, int(t)%60) }

// MarshalText returns what String does.
func (t TimeOfDay) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads two digits, a colon and two digits, up to 23:59.
func (t *TimeOfDay) UnmarshalText(text []byte) error {
	wrong := errors.New(`a time of day is written as in "02:00", from "00:00" to "23:59"`)
	if len(text) != 5 || text[2] != ':' {
		return wrong
	}
	hour, hourErr := strconv.ParseUint(string(text[:2]), 10, 8)
	minute, minuteErr := strconv.ParseUint(string(text[3:]), 10, 8)
	if hourErr != nil || minuteErr != nil || hour > 23 || minute > 59 {
		return wrong
	}
	*t = TimeOfDay(hour*60 + minute)
	return nil
}

// FileMode is the permissions of a file.
type FileMode fs.FileMode

// FileModePattern is a regular expression that permissions match.
const FileModePattern = `^0[0-7]{3}$`

// String returns the permissions as in 0644.
func (m FileMode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalText returns what String does.
func (m FileMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads four octal digits, the first of which is 0: set-uid,
// set-gid and sticky bits have no place in /etc.
func (m *FileMode) UnmarshalText(text []byte) error {
	mode, err := strconv.ParseUint(string(text), 8, 16)
	if err != nil || len(text) != 4 || text[0] != '0' {
		return errors.New(`permissions are four octal digits in quotes, the first of them 0, as in "0644"`)
	}
	*m = FileMode(mode)
	return nil
}

// AccessKey is the Ed25519 public key of somebody who may use the node's API.
type AccessKey struct {
	Public [32]byte // RFC 8032, section 5.1.5
	Name   string   // whose key it is; may be empty
}

// AccessKeyPattern is a regular expression that access keys match.
const AccessKeyPattern = `^ed25519:[A-Za-z0-9+/]{43}=?( .*)?$`

const accessKeyPrefix = "ed25519:"

// String returns the key and the name as they are written in the file.
func (k AccessKey) String() string {
	key := accessKeyPrefix + base64.StdEncoding.EncodeToString(k.Public[:])
	if k.Name != "" {
		key += " " + k.Name
	}
	return key
}

// Fingerprint returns the first eight bytes of the key in hexadecimal, to tell keys apart in logs.
func (k AccessKey) Fingerprint() string { return hex.EncodeToString(k.Public[:8]) }

// MarshalText returns what String does.
func (k AccessKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads "ed25519:", 32 bytes in base64, and a name after a space.
func (k *AccessKey) UnmarshalText(text []byte) error {
	key, name, _ := strings.Cut(string(text), " ")
	encoded, ok := strings.CutPrefix(key, accessKeyPrefix)
	if !ok {
		return errors.New(`a key begins with "ed25519:", followed by 32 bytes in base64 and a name`)
	}
	public, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimSuffix(encoded, "="))
	if err != nil || len(public) != len(k.Public) || strings.ContainsAny(encoded, "\r\n") {
		return errors.New(`after "ed25519:" come 32 bytes in base64, which are 43 or 44 characters`)
	}
	copy(k.Public[:], public)
	k.Name = strings.TrimSpace(name)
	return nil
}
