package debian

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxClockSkew is how far this machine's clock may be behind the archive's.
const maxClockSkew = 24 * time.Hour

// content is what a mirror owes for one file.
type content struct {
	size   int64
	sha256 string
}

// release is a suite's Release file: what the archive published and when.
type release struct {
	suite, codename           string
	date, validUntil          time.Time // validUntil is zero when the suite does not expire
	components, architectures []string
	byHash                    bool
	files                     map[string]content // by path below dists/SUITE
}

// parseRelease reads the signed text of an InRelease file
// (DebianRepository/Format, "Release" files). Only the SHA-256 list counts.
func parseRelease(text string) (*release, error) {
	if strings.Contains(strings.Trim(text, "\n"), "\n\n") {
		return nil, errors.New("parse Release: more than one paragraph")
	}
	r := &release{files: map[string]content{}}
	seen := map[string]bool{}
	err := eachField(strings.Trim(text, "\n"), func(name, value string) error {
		name = strings.ToLower(name)
		if seen[name] {
			return fmt.Errorf("field %s stands there twice", name)
		}
		seen[name] = true
		var err error
		switch name {
		case "suite":
			r.suite = value
		case "codename":
			r.codename = value
		case "date":
			r.date, err = parseDate(value)
		case "valid-until":
			r.validUntil, err = parseDate(value)
		case "architectures":
			r.architectures = strings.Fields(value)
		case "components":
			// The security archive says updates/main and means main.
			for _, c := range strings.Fields(value) {
				r.components = append(r.components, strings.TrimPrefix(c, "updates/"))
			}
		case "acquire-by-hash":
			r.byHash = strings.EqualFold(value, "yes")
		case "sha256":
			err = r.parseFiles(value)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("parse Release: %w", err)
	}
	if r.date.IsZero() {
		return nil, errors.New("parse Release: no Date")
	}
	return r, nil
}

// parseDate reads the one form of RFC 2822 dates that archives write.
func parseDate(s string) (time.Time, error) {
	for _, layout := range []string{"Mon, 2 Jan 2006 15:04:05 UTC", "Mon, 2 Jan 2006 15:04:05 GMT", "Mon, 2 Jan 2006 15:04:05 +0000"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%.40q is no date in UTC", s)
}

func (r *release) parseFiles(value string) error {
	for line := range strings.Lines(value) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 || !validSHA256(fields[0]) || !localPath(fields[2]) {
			return fmt.Errorf("%.120q is not \"SHA256 SIZE PATH\"", strings.TrimSpace(line))
		}
		size, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil || size < 0 {
			return fmt.Errorf("%s: %.40q is no size", fields[2], fields[1])
		}
		c := content{size: size, sha256: fields[0]}
		if old, ok := r.files[fields[2]]; ok && old != c {
			return fmt.Errorf("%s is listed twice", fields[2])
		}
		r.files[fields[2]] = c
	}
	return nil
}

// check tells whether the release is the one that was asked for, and one to
// use at this moment. An old or a different suite, signed properly, is what an
// attacker between the mirror and us can still hand out.
func (r *release) check(suite string, components []string, architecture string, now time.Time) error {
	if !r.named(suite) {
		return fmt.Errorf("it is for %q (codename %q)", r.suite, r.codename)
	}
	if r.date.After(now.Add(maxClockSkew)) {
		return fmt.Errorf("it is dated %s, which is in the future: check this machine's clock", r.date.Format(time.RFC1123))
	}
	if !r.validUntil.IsZero() && now.After(r.validUntil) {
		return fmt.Errorf("it expired on %s: the mirror is out of date, choose another with --mirror URL, or check this machine's clock", r.validUntil.Format(time.RFC1123))
	}
	if !slices.Contains(r.architectures, architecture) {
		return fmt.Errorf("it has no architecture %q, only %s", architecture, strings.Join(r.architectures, ", "))
	}
	for _, c := range components {
		if !slices.Contains(r.components, c) {
			return fmt.Errorf("it has no component %q, only %s", c, strings.Join(r.components, ", "))
		}
	}
	return nil
}

// named tells whether the suite goes by this name. Debian's own have the
// form stable-updates and trixie-updates.
func (r *release) named(suite string) bool { return suite == r.codename || suite == r.suite }
