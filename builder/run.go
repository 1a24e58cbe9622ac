package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/qemu"
)

// RunOptions say how to boot an image under QEMU.
type RunOptions struct {
	Image     string
	Board     string // from the image's name if empty
	Config    string // node config; none if empty
	Memory    int    // MiB
	CPUs      int
	Bus       string // see qemu.Buses
	DiskGiB   int64
	Forwards  []qemu.Forward
	Keep      string // file of the machine's disk; a temporary one if empty
	NoNetwork bool

	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// boardArchitectures says which virtual machine stands in for a board. Boards
// that QEMU can only imitate in part come with a machine of their own.
var boardArchitectures = map[string]string{"x86_64": "amd64", "arm64": "arm64"}

// Run boots a copy of an image with its serial console on the options' streams
// and returns when the machine powers off. Cancelling ctx pulls its plug.
func Run(ctx context.Context, o RunOptions) error {
	board, err := o.board()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "skerry-run-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	target := o.Keep
	variables := o.Keep + ".variables"
	if target == "" {
		target, variables = filepath.Join(dir, "disk"), filepath.Join(dir, "variables")
	}
	if err := PrepareDisk(ctx, o.Image, target, o.DiskGiB<<30, o.Config); err != nil {
		return err
	}
	machine := qemu.Machine{
		GOARCH: boardArchitectures[board], Disk: target, Bus: o.Bus, Memory: o.Memory, CPUs: o.CPUs,
		Variables: variables, Forwards: o.Forwards, NoNetwork: o.NoNetwork,
	}
	args, err := machine.Command()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.Stdin, o.Stdout, o.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%s is not installed: run `make deps`", args[0])
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("run %s: %w", o.Image, err)
	}
	return nil
}

// board returns the board that the image is for.
func (o RunOptions) board() (string, error) {
	if o.Board != "" {
		if _, ok := boardArchitectures[o.Board]; !ok {
			return "", fmt.Errorf("board %q cannot be run under QEMU: choose x86_64 or arm64", o.Board)
		}
		return o.Board, nil
	}
	name := strings.TrimSuffix(filepath.Base(o.Image), ".img")
	for board := range boardArchitectures {
		if strings.HasSuffix(name, "-"+board) {
			return board, nil
		}
	}
	return "", fmt.Errorf("%s does not say in its name which board it is for: pass --board", o.Image)
}

// PrepareDisk makes target a disk of size bytes with a copy of the image on
// it, and the node config on partition boot if one is given. A target that
// exists is kept as it is, but for the config.
func PrepareDisk(ctx context.Context, image, target string, size int64, config string) error {
	var contents []byte
	if config != "" {
		var err error
		if contents, err = readConfig(config); err != nil {
			return err
		}
	}
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		if err := disk.Copy(ctx, target, image); err != nil {
			return err
		}
		info, err := os.Stat(target)
		if err != nil {
			return err
		}
		if size > info.Size() {
			if err := os.Truncate(target, size); err != nil {
				return err
			}
		}
	} else if err != nil {
		return err
	}
	if contents == nil {
		return nil
	}
	return disk.WriteBootFile(target, configName, contents, time.Now())
}
