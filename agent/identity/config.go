package identity

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/skerry-os/skerry/agent/wholefile"
)

// maxConfig is the longest node config that is kept, in bytes.
const maxConfig = 1 << 20

// ErrNoConfig says that no config was kept yet.
var ErrNoConfig = errors.New("no earlier node config is kept")

// KeepConfig keeps a node config that worked, as it was read. It writes only
// what changed. Configs hold secrets, so nobody but root may read it.
func KeepConfig(dir string, raw []byte) error {
	if len(raw) == 0 || len(raw) > maxConfig {
		return fmt.Errorf("keep node config: has %d bytes, 1 to %d are kept", len(raw), maxConfig)
	}
	name := filepath.Join(dir, configFile)
	if old, err := read(name, maxConfig); err == nil && bytes.Equal(old, raw) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep node config: %w", err)
	}
	if err := wholefile.Replace(wholefile.File{Name: name, Contents: raw, Mode: 0o600}); err != nil {
		return fmt.Errorf("keep node config: %w", err)
	}
	return nil
}

// LastConfig returns the config that was kept last. The error is ErrNoConfig if
// there is none, or only an empty one.
func LastConfig(dir string) ([]byte, error) {
	b, err := read(filepath.Join(dir, configFile), maxConfig)
	if err != nil {
		return nil, fmt.Errorf("read the last node config: %w", err)
	}
	if len(b) == 0 || len(b) > maxConfig {
		return nil, ErrNoConfig
	}
	return b, nil
}
