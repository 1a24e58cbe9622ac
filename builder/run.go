package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/lan"
	"github.com/skerry-os/skerry/builder/qemu"
)

// RunOptions say how to boot an image under QEMU.
type RunOptions struct {
	Image     string
	Source    string // root folder of the repository, which describes the boards
	Board     string // from the image's name if empty
	Config    string // node config; none if empty
	Memory    int    // MiB
	CPUs      int
	Bus       string // see qemu.Buses
	DiskGiB   int64
	Forwards  []qemu.Forward
	Keep      string // file of the machine's disk; a temporary one if empty
	NoNetwork bool
	LAN       string // socket of the network that the machine shares with others; none if empty

	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Run boots a copy of an image with its serial console on the options' streams
// and returns when the machine powers off. Cancelling ctx pulls its plug.
func Run(ctx context.Context, o RunOptions) (err error) {
	board, err := o.board()
	if err != nil {
		return err
	}
	if len(board.Bootloader.State) > 0 && board.Bootloader.Addresses.Kernel > 0 {
		return fmt.Errorf("run %s: images for board %s are loaded to places in memory that a virtual machine does not have: run one of another board",
			o.Image, board.Name)
	}
	if o.LAN != "" {
		leave, refused := o.joinLAN(ctx)
		if refused != nil {
			return refused
		}
		defer func() { err = errors.Join(err, leave()) }()
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
		GOARCH: board.Architecture, Disk: target, Bus: o.Bus, Memory: o.Memory, CPUs: o.CPUs,
		Variables: variables, Forwards: o.Forwards, NoNetwork: o.NoNetwork, LAN: o.LAN,
	}
	ForBoard(&machine, board)
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

// joinLAN makes the network that the machine is to be on, unless another machine
// did.
func (o RunOptions) joinLAN(ctx context.Context) (leave func() error, err error) {
	n, err := StartNetwork(ctx, o.LAN, o.Forwards)
	switch {
	case errors.Is(err, lan.ErrExists) && len(o.Forwards) > 0:
		return nil, fmt.Errorf("network %s is there already, and its ports lead to its first machine: start this one without --port, or give the ports to the one that makes the network", o.LAN)
	case errors.Is(err, lan.ErrExists):
		return func() error { return nil }, nil
	case err != nil:
		return nil, err
	}
	return n.Close, nil
}

// ForBoard completes a machine with what a board's images need of it.
func ForBoard(m *qemu.Machine, b *board.Board) {
	m.UBoot = b.Bootloader.Kind == board.BootUBoot
	for _, argument := range b.Kernel.Arguments {
		if console, ok := strings.CutPrefix(argument, "console="); ok {
			m.Console, _, _ = strings.Cut(console, ",") // the last one is /dev/console
		}
	}
}

// board returns the board that the image is for: the one that is named, or the
// one that the image's name ends with.
func (o RunOptions) board() (*board.Board, error) {
	source := os.DirFS(o.Source)
	if o.Board != "" {
		return board.Load(source, o.Board)
	}
	boards, err := board.List(source)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(o.Image)
	for _, format := range Formats {
		name = strings.TrimSuffix(name, "."+format)
	}
	var found *board.Board
	var names []string
	for _, b := range boards {
		names = append(names, b.Name)
		// The longest: a board's name may end with another's.
		if strings.HasSuffix(name, "-"+b.Name) && (found == nil || len(b.Name) > len(found.Name)) {
			found = b
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%s does not say in its name which board it is for: pass --board with one of %s", o.Image, strings.Join(names, ", "))
	}
	return found, nil
}
