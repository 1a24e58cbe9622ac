package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/skerry-os/skerry/agent/identity"
	"github.com/skerry-os/skerry/nodeconfig"
)

// applyConfig decides which node config counts and puts it into effect. One
// that cannot be used leaves the node with the last that worked, and with the
// defaults if there was none: it must stay reachable to be mended.
func (n *node) applyConfig(context.Context) error {
	var problem error
	running := ""
	if n.bootConfigErr != nil {
		config, what := n.lastConfig(stateDir)
		n.config, running = config, what
		// What counts comes first: a list of mistakes is cut when it is long.
		problem = fmt.Errorf("the node runs with %s: %w", what, n.bootConfigErr)
	} else if n.bootConfig != nil {
		if err := identity.KeepConfig(stateDir, n.bootConfig); err != nil {
			n.log.Warn("the node config is not kept on data", "err", err)
		}
	}
	if err := n.reportConfig(running, n.bootConfigErr); err != nil {
		n.log.Warn("no report is left on partition boot", "err", err)
	}
	if err := os.WriteFile("/etc/machine-id", []byte(n.identity.MachineID+"\n"), 0o444); err != nil {
		problem = errors.Join(problem, err)
	}
	for _, f := range n.config.Files {
		if err := writeConfigFile(f); err != nil {
			problem = errors.Join(problem, err)
		}
	}
	if err := writeClusterConfig(clusterFile, n.config); err != nil {
		problem = errors.Join(problem, err)
	}
	return problem
}

// lastConfig returns the node config to use when the one on boot is no good: the
// last that is kept in dir.
func (n *node) lastConfig(dir string) (*nodeconfig.Config, string) {
	contents, err := identity.LastConfig(dir)
	if err == nil {
		config, err := nodeconfig.Parse(nodeconfig.FileName, contents)
		if err == nil {
			return config, "the last config that worked"
		}
	}
	if err != nil && !errors.Is(err, identity.ErrNoConfig) {
		n.log.Warn("the last node config cannot be used", "err", err)
	}
	return defaultConfig(), "the defaults, for no earlier config is known"
}

// defaultConfig is what an empty node config means.
func defaultConfig() *nodeconfig.Config {
	config, err := nodeconfig.Parse(nodeconfig.FileName, nil)
	if err != nil {
		return &nodeconfig.Config{}
	}
	return config
}

// writeConfigFile makes a file that the node config asks for, in the /etc of
// this boot.
func writeConfigFile(f nodeconfig.File) error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return fmt.Errorf("file %s of the node config: %w", f.Path, err)
	}
	mode := fs.FileMode(f.Mode)
	// A file of the root that is replaced must not lend its mode.
	if err := os.Remove(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("file %s of the node config: %w", f.Path, err)
	}
	if err := os.WriteFile(f.Path, []byte(f.Content), mode); err != nil {
		return fmt.Errorf("file %s of the node config: %w", f.Path, err)
	}
	return os.Chmod(f.Path, mode)
}
