package strictyaml

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written as in 512MiB.
type Size int64

// Units of sizes.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// SizePattern is a regular expression that sizes match.
const SizePattern = `^(0|[1-9][0-9]{0,17})(B|KiB|MiB|GiB|TiB)$`

func (s Size) unit() (string, Size) {
	switch {
	case s == 0:
		return "B", 1
	case s%TiB == 0:
		return "TiB", TiB
	case s%GiB == 0:
		return "GiB", GiB
	case s%MiB == 0:
		return "MiB", MiB
	case s%KiB == 0:
		return "KiB", KiB
	}
	return "B", 1
}

// Bytes returns the size as a plain number.
func (s Size) Bytes() int64 { return int64(s) }

// String returns the size in the largest unit that divides it.
func (s Size) String() string {
	name, unit := s.unit()
	return strconv.FormatInt(int64(s/unit), 10) + name
}

// MarshalText returns what String does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a whole number and one of the units B, KiB, MiB, GiB and
// TiB.
func (s *Size) UnmarshalText(text []byte) error {
	for _, unit := range []struct {
		name string
		size Size
	}{{"KiB", KiB}, {"MiB", MiB}, {"GiB", GiB}, {"TiB", TiB}, {"B", 1}} {
		digits, ok := strings.CutSuffix(string(text), unit.name)
		if !ok || !isDecimal(digits) || digits[0] == '-' {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || Size(n) > math.MaxInt64/unit.size {
			return errors.New("the size is out of range")
		}
		*s = Size(n) * unit.size
		return nil
	}
	return errors.New("a size is a whole number and one of B, KiB, MiB, GiB, TiB, as in 200MiB")
}

// Duration is a length of time, written as in 90s, 10m or 1h30m.
type Duration time.Duration

// DurationPattern is a regular expression that durations match.
const DurationPattern = `^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$`

// String returns the duration as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText returns what String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads whole hours, minutes and seconds, in this order.
func (d *Duration) UnmarshalText(text []byte) error {
	rest, sum, parts := string(text), time.Duration(0), 0
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		digits, after, ok := strings.Cut(rest, unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || len(digits) > 6 {
			parts, rest = 0, ""
			break
		}
		sum, rest, parts = sum+time.Duration(n)*unit.size, after, parts+1
	}
	if parts == 0 || rest != "" {
		return errors.New("a duration is made of hours, minutes and seconds, as in 90s, 10m or 1h30m")
	}
	*d = Duration(sum)
	return nil
}
