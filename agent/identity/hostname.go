package identity

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/agent/wholefile"
)

const hostnameFile = "hostname"

// maxHostnameBytes bounds what is read; a name that is longer is none.
const maxHostnameBytes = 64

// Hostname returns the name that the node gave itself when it had no other, and
// keeps fresh as that if there is none yet: cards may be found in another order
// next time, and the cluster knows the node by its name.
func Hostname(dir, fresh string) (string, error) {
	name := filepath.Join(dir, hostnameFile)
	b, err := read(name, maxHostnameBytes)
	if err != nil {
		return fresh, fmt.Errorf("read the node's name: %w", err)
	}
	kept := strings.TrimSuffix(string(b), "\n")
	if kept != "" && len(kept) < maxHostnameBytes && strings.Trim(kept, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" &&
		strings.Trim(kept, "-") == kept {
		return kept, nil
	}
	if err := wholefile.Replace(wholefile.File{Name: name, Contents: []byte(fresh + "\n"), Mode: 0o644}); err != nil {
		return fresh, fmt.Errorf("keep the node's name: %w", err)
	}
	return fresh, nil
}
