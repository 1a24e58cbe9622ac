package clock

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// latest is the time after which nobody is believed, whatever is known of the release. A forged answer may say anything.
var latest = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// earliest is before any build of this program; builds that want to be reproducible may say 1970.
var earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Ceiling is the time after which a release believes no source, from the time it was built. Nobody runs a release that
// is twenty years old, and an empty hardware clock says 2099, or 1970, which OVMF takes for 2070.
func Ceiling(build time.Time) time.Time {
	if build.Before(earliest) {
		build = earliest
	}
	if ceiling := build.AddDate(20, 0, 0); ceiling.Before(latest) {
		return ceiling
	}
	return latest
}

// Floor returns the newest of times, without those from ceiling on.
func Floor(ceiling time.Time, times ...time.Time) (floor time.Time) {
	for _, t := range times {
		if t.After(floor) && t.Before(ceiling) {
			floor = t
		}
	}
	return floor
}

// ReadSaved returns the time in a file that a Clock saved, or the zero time if there is none. It does not look at the
// file's own times, which come from the clock that is in doubt.
func ReadSaved(path string) (time.Time, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read the saved time: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return time.Time{}, fmt.Errorf("read the saved time: %w", err)
	}
	t, err := parseSaved(string(b))
	if err != nil {
		return time.Time{}, fmt.Errorf("read the saved time from %s: %w: the next save replaces it", path, err)
	}
	return t, nil
}

func parseSaved(content string) (time.Time, error) {
	line, ok := strings.CutSuffix(content, "\n")
	t, err := time.Parse(time.RFC3339, line)
	if !ok || err != nil {
		return time.Time{}, fmt.Errorf("%q is not a time", content)
	}
	if t = t.UTC(); t.Before(time.Unix(0, 0)) || !t.Before(latest) {
		return time.Time{}, fmt.Errorf("%s is not a time this node can have seen", line)
	}
	return t, nil
}

// writeSaved replaces the file at once. Only with sync it waits for the disk: a save that a power cut undoes costs
// half an hour of floor, and flash cards wear.
func writeSaved(path string, t time.Time, sync bool) error {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("save the time: is data mounted at %s? %w", filepath.Dir(path), err)
	}
	_, err = f.WriteString(t.UTC().Format(time.RFC3339) + "\n")
	if err == nil && sync {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
		return fmt.Errorf("save the time: %w", err)
	}
	return nil
}
