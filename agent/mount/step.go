package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Step is one line of a mount table.
type Step struct {
	Source string
	Target string
	Type   string // empty for a change of propagation
	Flags  uintptr
	Data   string

	// Make are directories made first, mode 0755: mount points within a file
	// system that an earlier step mounted.
	Make []string
	// Needs is a path without which the step does not concern this machine.
	Needs string
	// Optional is a step whose failure the caller reports and lives with: the
	// kernel may lack the type.
	Optional bool
}

// String prints the step as a command line of mount(8).
func (s Step) String() string {
	for name, flag := range propagations {
		if s.Type == "" && s.Flags == flag {
			return "mount --make-" + name + " " + s.Target
		}
	}
	words := []string{"mount", "-t", s.Type}
	if list := optionString(s.Flags, s.Data); list != "" {
		words = append(words, "-o", list)
	}
	return strings.Join(append(words, s.Source, s.Target), " ")
}

// Result says what became of one step.
type Result struct {
	Step    Step
	Outcome Outcome
	Err     error // of an optional step that failed
}

// Outcome of a step.
type Outcome string

// The outcomes.
const (
	Mounted    Outcome = "mounted"
	WasMounted Outcome = "was mounted"
	NotNeeded  Outcome = "not needed"
	Failed     Outcome = "failed" // only optional steps; others are Apply's error
)

// Apply does the steps in order below root ("/", or a directory that stands for
// it). A target on which the step's type is mounted already stays as it is, so
// that a table can be applied again. It stops at the first step that is not
// optional and fails.
func Apply(k Kernel, root string, steps []Step) ([]Result, error) {
	infos, err := k.MountInfo()
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // the first step mounts /proc
		return nil, err
	}
	results := make([]Result, 0, len(steps))
	for _, s := range steps {
		outcome, err := s.apply(k, root, infos)
		if err != nil {
			err = fmt.Errorf("%s: %w", s, err)
			if !s.Optional {
				return results, err
			}
			outcome = Failed
		}
		results = append(results, Result{s, outcome, err})
	}
	return results, nil
}

func (s Step) apply(k Kernel, root string, infos []Info) (Outcome, error) {
	if s.Needs != "" {
		if _, err := os.Stat(filepath.Join(root, s.Needs)); err != nil {
			return NotNeeded, nil
		}
	}
	target := filepath.Join(root, s.Target)
	if info, mounted := at(infos, target); mounted && s.Type != "" && info.Type == s.Type {
		return WasMounted, nil
	}
	for _, dir := range s.Make {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return "", err
		}
	}
	err := k.Mount(s.Source, target, s.Type, s.Flags, s.Data)
	switch {
	case err == nil:
		return Mounted, nil
	case errors.Is(err, unix.EBUSY) && s.Type == "devtmpfs", errors.Is(err, unix.EBUSY) && s.Type == "sysfs":
		// The kernel has mounted it before init (CONFIG_DEVTMPFS_MOUNT), or it is
		// mounted there and /proc was not there to say so.
		return WasMounted, nil
	case errors.Is(err, unix.ENODEV):
		return "", fmt.Errorf("the kernel has no file system %s: %w", s.Type, err)
	case errors.Is(err, unix.ENOENT):
		return "", fmt.Errorf("%s does not exist in this root: %w", target, err)
	}
	return "", err
}
