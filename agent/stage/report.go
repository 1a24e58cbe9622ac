package stage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/skerry-os/skerry/nodeconfig"
)

// reportName is the file on partition boot that tells a person with the card in
// their computer why the node did not take the node config.
const reportName = "skerry-report.txt"

// maxReport bounds what is read of a report.
const maxReport = 64 << 10

// configReport is what the report says: that the node config cannot be used and
// what the node does instead, or that it is used again. It has no time in it: a
// boot that would write the same writes nothing.
func configReport(release, running string, problem error) []byte {
	var text strings.Builder
	if problem == nil {
		fmt.Fprintf(&text, "The node uses %s. Nothing is wrong with it.\n", nodeconfig.FileName)
	} else {
		fmt.Fprintf(&text, "The node could not use %s, and runs with %s.\n\n%s\n\n", nodeconfig.FileName, running, problem)
		fmt.Fprintf(&text, "Correct it, save it as text, eject this disk, put it back and start the node again.\n")
	}
	fmt.Fprintf(&text, "\nWritten by Skerry %s when it started.\n", release)
	// Some editors know no other line ends.
	return []byte(strings.ReplaceAll(text.String(), "\n", "\r\n"))
}

// reportConfig writes the report if it says something new: after a boot that could
// not use the node config, and after the first one that can again.
func (n *node) reportConfig(running string, problem error) error {
	if n.partitionBoot == nil {
		return nil // problem says so
	}
	old, err := readReport(n.partitionBoot)
	if err != nil {
		return err
	}
	wanted := configReport(n.release.version, running, problem)
	if bytes.Equal(old, wanted) || problem == nil && (old == nil || bytes.HasPrefix(old, []byte("The node uses "))) {
		return nil
	}
	device, err := os.OpenFile(n.partitionBoot.device.Name(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = n.partitionBoot.Replace(device, reportName, wanted, time.Now())
	if err == nil {
		err = device.Sync()
	}
	// What was read of the file system is out of date.
	n.closeBoot()
	return errors.Join(err, device.Close())
}

// readReport reads the report that is there, nil if there is none.
func readReport(boot fs.FS) ([]byte, error) {
	file, err := boot.Open(reportName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxReport))
}

// mistakenName finds a file that somebody meant for the node config, where there
// is none of its name: editors and computers that hide endings call it otherwise.
func mistakenName(boot fs.FS) (string, error) {
	entries, err := fs.ReadDir(boot, ".")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		rest, ours := strings.CutPrefix(name, "skerry")
		switch {
		case !ours || e.IsDir() || name == reportName || name == nodeconfig.ExampleName:
		case strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "("), strings.HasSuffix(rest, ".yaml"), strings.HasSuffix(rest, ".yml"):
			return e.Name(), nil
		}
	}
	return "", nil
}
