package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/builder/inspect"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/builder/uki"
)

// The budgets of sizes.
const (
	imageBudget     = "≤ 120 MB (x86_64 --without cluster)"
	agentSizeBudget = "≤ 20 MB"
)

// boards are those that are measured.
var boards = []string{"x86_64", "arm64"}

// withoutCluster leaves the cluster out of an image.
var withoutCluster = []string{"--without", "cluster"}

// measured is one release's sizes in bytes.
type measured struct {
	compressed, slot, uki int64
	kernel, initramfs     int64
	contents              contents
}

// measureSizes builds each board as somebody would who tries things out, as
// somebody would who publishes, and without the cluster.
func measureSizes(ctx context.Context, s *session) error {
	w, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	head := []string{"what"}
	var all []measured
	var plain []contents // of each board
	for _, board := range boards {
		for i, more := range [][]string{nil, {"--release"}, withoutCluster} {
			name := strings.Join(append([]string{board}, more...), " ")
			s.logf("sizes, %s", name)
			m, err := w.measureSize(ctx, board, more)
			if err != nil {
				return err
			}
			if i == 0 {
				plain = append(plain, m.contents)
			}
			head = append(head, name)
			all = append(all, m)
		}
	}
	s.page.heading(2, "Sizes")
	s.page.paragraph("With `--release`, roots are compressed for publishing. Sizes are decimal.")
	t := table{append(head, "budget")}
	add := func(what, budget string, figure func(measured) int64) {
		cells := []string{what}
		for _, m := range all {
			cells = append(cells, progress.Size(figure(m)))
		}
		t.row(append(cells, budget)...)
	}
	add("disk image, `.img.zst`", imageBudget, func(m measured) int64 { return m.compressed })
	add("slot image, `.slot`", "", func(m measured) int64 { return m.slot })
	add("kernel image, `.efi`", "", func(m measured) int64 { return m.uki })
	add("– kernel in it", "", func(m measured) int64 { return m.kernel })
	add("– initramfs in it", "", func(m measured) int64 { return m.initramfs })
	add("agent's program, stripped", agentSizeBudget, func(m measured) int64 { return m.contents[kindAgent].bytes })
	t.write(s.page)

	s.page.paragraph("What roots hold, uncompressed:")
	t = table{{"kind"}}
	for _, kind := range kinds {
		t.row(kind)
	}
	t.row("all")
	for i, board := range boards {
		t[0] = append(t[0], board)
		var total share
		for n, kind := range kinds {
			one := plain[i][kind]
			total.files += one.files
			total.bytes += one.bytes
			t[n+1] = append(t[n+1], one.String())
		}
		t[len(t)-1] = append(t[len(t)-1], total.String())
	}
	t.write(s.page)
	return nil
}

func (w *workshop) measureSize(ctx context.Context, board string, more []string) (measured, error) {
	var m measured
	dir, err := os.MkdirTemp(w.work, "size-")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	b, err := w.build(ctx, board, filepath.Join(dir, "release"), append([]string{"--format", "img.zst"}, more...)...)
	if err != nil {
		return m, err
	}
	for ending, size := range map[string]*int64{"img.zst": &m.compressed, "slot": &m.slot, "efi": &m.uki} {
		info, err := os.Stat(b.file(ending))
		if err != nil {
			return m, err
		}
		*size = info.Size()
	}
	if m.kernel, m.initramfs, err = ukiParts(b.file("efi"), m.uki); err != nil {
		return m, err
	}
	root := filepath.Join(dir, "root")
	if err := w.unpack(ctx, b.file("slot"), root); err != nil {
		return m, err
	}
	m.contents, err = weigh(os.DirFS(root))
	return m, err
}

// ukiParts returns the sizes of a kernel image's kernel and initramfs in bytes.
func ukiParts(name string, size int64) (kernel, initramfs int64, err error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	image, err := uki.Open(file, size)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", name, err)
	}
	for section, part := range map[string]*int64{".linux": &kernel, ".initrd": &initramfs} {
		found, err := image.Section(section)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", name, err)
		}
		*part = found.Size
	}
	return kernel, initramfs, nil
}

// Kinds of what a root holds.
const (
	kindModules  = "kernel modules"
	kindFirmware = "firmware"
	kindAgent    = "agent"
	kindCluster  = "cluster, images included"
	kindPrograms = "programs and libraries"
	kindRest     = "all else"
)

var kinds = []string{kindModules, kindFirmware, kindAgent, kindCluster, kindPrograms, kindRest}

// kindOf tells what kind of file lies at a path of a root.
func kindOf(path string) string {
	if path == "usr/sbin/init" {
		return kindAgent
	}
	if inspect.OfCluster(path) {
		return kindCluster
	}
	for _, place := range []struct{ prefix, kind string }{
		{"usr/lib/modules/", kindModules},
		{"usr/lib/firmware/", kindFirmware},
		{"usr/bin/", kindPrograms},
		{"usr/sbin/", kindPrograms},
		{"usr/lib/x86_64-linux-gnu/", kindPrograms},
		{"usr/lib/aarch64-linux-gnu/", kindPrograms},
		{"usr/lib/ld-", kindPrograms},
		{"usr/lib64/", kindPrograms},
	} {
		if strings.HasPrefix(path, place.prefix) {
			return place.kind
		}
	}
	return kindRest
}

// share is what files of one kind come to.
type share struct {
	files int
	bytes int64
}

func (s share) String() string { return fmt.Sprintf("%s, files: %d", progress.Size(s.bytes), s.files) }

// contents are the shares of a root by kind.
type contents map[string]share

// weigh adds up the regular files of a root.
func weigh(root fs.FS) (contents, error) {
	c := contents{}
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		one := c[kindOf(path)]
		one.files++
		one.bytes += info.Size()
		c[kindOf(path)] = one
		return nil
	})
	return c, err
}
