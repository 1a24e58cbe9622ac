package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/skerry-os/skerry/builder/flash"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/release"
)

// flashing is what the flags of flash say.
type flashing struct {
	*settings
	force, yes              bool
	config                  flash.NodeConfig
	tokenFile               string
	bmap, imager, imagerURL string
}

func newFlash(s *settings) *cobra.Command {
	f := &flashing{settings: s}
	cmd := &cobra.Command{
		Use:   "flash IMAGE [DEVICE]",
		Short: "Write an image to a card or disk",
		Long: `flash writes a disk image to a whole disk, reads it back, and puts a node config
on its partition boot. Without DEVICE it lists the removable disks. IMAGE is an
.img, .img.zst or .img.xz file, or - for standard input.

It writes to a removable disk that nothing uses, after asking for its name.
--force passes over that, but never writes to the disk that / is on. The first
block is written last: a disk that was not written to its end does not start.

Parts of the image that are zero are not written, only cleared where the disk is
not zero already. What lies behind the image stays if it is the data of an
earlier installation: flashing a node again keeps its data.

--bmap and --imager-json describe the image for other tools that write it; they
need no DEVICE.`,
		Example: `  builder flash skerry-1.2.0-x86_64.img
  builder flash skerry-1.2.0-x86_64.img.zst /dev/sdb --config shop-17.yaml
  builder flash skerry-1.2.0-x86_64.img /dev/sdb --hostname shop-17 --join https://192.0.2.10:6443 --token-file token
  curl -s https://releases.example.com/skerry.img.zst | builder flash - /dev/sdb --yes
  builder flash --bmap skerry-1.2.0-x86_64.img.bmap skerry-1.2.0-x86_64.img`,
		Args: arguments(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.tokenFile != "" {
				var err error
				if f.config.Token, err = flash.ReadToken(f.tokenFile); err != nil {
					return err
				}
			}
			describes := f.bmap != "" || f.imager != ""
			switch {
			case f.imager != "" && args[0] == "-":
				return usageError{errors.New("--imager-json: the entry needs the file's name and size: standard input has none")}
			case len(args) == 2:
				return f.write(cmd, args[0], args[1])
			case f.config != (flash.NodeConfig{}):
				return usageError{errors.New("which disk? a node config needs a DEVICE to be put on; without flags flash lists disks")}
			case describes:
				return f.describe(cmd, args[0])
			}
			return f.list(cmd, args[0])
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.force, "force", false, "write to a disk that is in use or not removable, or to a file that exists")
	flags.BoolVar(&f.yes, "yes", false, "do not ask for the disk's name")
	flags.StringVar(&f.config.File, "config", "", "node config to put on partition boot")
	flags.StringVar(&f.config.Hostname, "hostname", "", "name of the node, put into its config")
	flags.StringVar(&f.config.Join, "join", "", "server of the cluster to join, put into the config, as in https://192.0.2.10:6443")
	flags.StringVar(&f.tokenFile, "token-file", "", "file with the token to join with, put into the config")
	flags.StringVar(&f.bmap, "bmap", "", "file to write the block map to, for bmaptool")
	flags.StringVar(&f.imager, "imager-json", "", "file to write the entry for Raspberry Pi Imager to")
	flags.StringVar(&f.imagerURL, "imager-url", "", "where the image will be published (default: the file itself)")
	return cmd
}

// list prints the disks that could be written.
func (f *flashing) list(cmd *cobra.Command, image string) error {
	disks, err := flash.NewSystem().List()
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd, disks)
	}
	if len(disks) == 0 {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "no removable disk is here: put a card in, or name another disk with --force")
		return err
	}
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, d := range disks {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", d.Node, progress.Size(d.Bytes), d.Transport,
			joined(", ", d.Model, d.FileSystem, d.Label, remark(d.ReadOnly, "write-protected"), remark(d.System, "the disk of /"), strings.Join(d.Uses, ", ")))
		for _, p := range d.Partitions {
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", p.Name, progress.Size(p.Bytes), p.FileSystem,
				joined(", ", p.Title, p.Label, strings.Join(p.Uses, ", ")))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "write to one of them with: builder flash %s DEVICE\n", image)
	return nil
}

func remark(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

// joined joins what is not empty.
func joined(separator string, parts ...string) string {
	var some []string
	for _, p := range parts {
		if p != "" {
			some = append(some, p)
		}
	}
	return strings.Join(some, separator)
}

// describe reads an image and writes what others want to know of it.
func (f *flashing) describe(cmd *cobra.Command, name string) error {
	if err := f.checkImager(name); err != nil {
		return err
	}
	image, err := flash.Open(name, cmd.InOrStdin())
	if err != nil {
		return err
	}
	defer image.Close()
	p := progress.New(cmd.ErrOrStderr())
	defer p.Close()
	step := p.Step("read")
	m, err := flash.Read(cmd.Context(), image, flash.MapOptions{Digests: f.imager != "", Blocks: f.bmap != "", Progress: step})
	if err == nil {
		step.Detail("%s of %s are data", progress.Size(m.Bytes()), progress.Size(m.Size))
	}
	step.End(err)
	if err != nil {
		return err
	}
	return f.emit(name, m)
}

// checkImager refuses early what emit could not describe.
func (f *flashing) checkImager(image string) error {
	if f.imager == "" {
		return nil
	}
	_, board := releaseOf(image)
	if !flash.ImagerBoard(board) {
		return fmt.Errorf("describe %s for Raspberry Pi Imager: by its name it is for board %q, which is no Raspberry Pi", image, board)
	}
	return nil
}

// emit writes the block map and Imager's entry.
func (f *flashing) emit(image string, m *flash.Map) error {
	if f.bmap != "" {
		if err := writeFile(f.bmap, m.WriteBmap); err != nil {
			return err
		}
	}
	if f.imager == "" {
		return nil
	}
	path, err := filepath.Abs(image)
	if err != nil {
		return err
	}
	where := f.imagerURL
	if where == "" {
		where = (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()
	}
	released, err := releaseTime(image)
	if err != nil {
		return err
	}
	version, board := releaseOf(image)
	return writeFile(f.imager, func(w io.Writer) error {
		return flash.WriteImagerList(w, m.Imager(version, board, where, released))
	})
}

func writeFile(name string, write func(io.Writer) error) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := errors.Join(write(file), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// releaseOf takes the name of an image apart: skerry-VERSION-BOARD.img.zst.
func releaseOf(image string) (version, board string) {
	name, _, _ := strings.Cut(filepath.Base(image), ".img")
	name = strings.TrimPrefix(name, "skerry-")
	if i := strings.LastIndex(name, "-"); i >= 0 {
		return name[:i], name[i+1:]
	}
	return name, ""
}

// releaseTime returns the time of the release: that of the manifest beside the
// image, or of the file.
func releaseTime(image string) (time.Time, error) {
	name, _, _ := strings.Cut(image, ".img")
	if b, err := os.ReadFile(name + ".manifest.json"); err == nil {
		m, err := release.ParseManifest(name+".manifest.json", b)
		if err != nil {
			return time.Time{}, err
		}
		return m.Time, nil
	}
	info, err := os.Stat(image)
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// flashed is what flash prints as JSON.
type flashed struct {
	Device       string `json:"device"`
	ImageBytes   int64  `json:"imageBytes"`
	WrittenBytes int64  `json:"writtenBytes"` // that are data
	Ranges       int    `json:"ranges"`
	KeptData     bool   `json:"keptData"`
}

// write writes an image to a disk.
func (f *flashing) write(cmd *cobra.Command, name, device string) error {
	if err := f.checkImager(name); err != nil {
		return err
	}
	edit, err := f.config.Edit()
	if err != nil {
		return err
	}
	target, err := f.target(device)
	if err != nil {
		return fmt.Errorf("flash %s: %w", device, err)
	}
	image, err := flash.Open(name, cmd.InOrStdin())
	if err != nil {
		return err
	}
	defer image.Close()
	if image.Size > target.Bytes {
		return fmt.Errorf("flash %s: it has %s, the image %s: use a larger disk", device, progress.Size(target.Bytes), progress.Size(image.Size))
	}
	if err := f.confirm(cmd, name, target); err != nil {
		return err
	}
	dev, err := flash.OpenDevice(device, f.force)
	if err != nil {
		return fmt.Errorf("flash %s: %w", device, err)
	}
	defer dev.Close()
	p := progress.New(cmd.ErrOrStderr())
	result, err := flash.Write(cmd.Context(), dev, image, flash.Options{
		Config: edit, Modified: time.Now(), Digests: f.imager != "", Blocks: f.bmap != "", Progress: p,
	})
	p.Close() // its last line comes before the result
	if err != nil {
		return fmt.Errorf("flash %s: %w", device, err)
	}
	if err := dev.Close(); err != nil {
		return fmt.Errorf("flash %s: %w", device, err)
	}
	if err := f.emit(name, result.Map); err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd, flashed{device, result.Map.Size, result.Map.Bytes(), len(result.Map.Ranges), result.KeptData})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is written and was read back%s\n", device,
		remark(result.KeptData, "; the data of an earlier installation is kept"))
	return nil
}

// target finds the disk and checks that it may be written.
func (f *flashing) target(device string) (flash.Disk, error) {
	if info, err := os.Stat(device); err == nil && info.Mode().IsRegular() {
		if !f.force {
			return flash.Disk{}, errors.New("it is a file, not a disk: to write to it all the same, pass --force")
		}
		return flash.Disk{Name: filepath.Base(device), Node: device, Model: "a file", Bytes: info.Size(), Removable: true}, nil
	}
	target, err := flash.NewSystem().Find(device)
	if err != nil {
		return target, err
	}
	return target, target.Check(f.force)
}

// confirm asks for the name of the disk.
func (f *flashing) confirm(cmd *cobra.Command, image string, d flash.Disk) error {
	if f.yes {
		return nil
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || image == "-" || !term.IsTerminal(int(in.Fd())) {
		return usageError{fmt.Errorf("flash %s: nobody can be asked whether all on it may be lost: pass --yes if it may", d.Node)}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "All that is on %s is lost (%s).\nType %s to go on: ", d.Node, about(d), d.Name)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-cmd.Context().Done():
		return cmd.Context().Err()
	case line := <-answer:
		if line != d.Name && line != d.Node {
			return fmt.Errorf("flash %s: not confirmed: nothing was written", d.Node)
		}
	}
	return nil
}

// about describes a disk in a few words.
func about(d flash.Disk) string {
	var names []string
	for _, p := range d.Partitions {
		names = append(names, joined(" ", p.Name, p.Title, p.Label))
	}
	return joined(", ", d.Model, progress.Size(d.Bytes), d.Label, strings.Join(names, ", "))
}
