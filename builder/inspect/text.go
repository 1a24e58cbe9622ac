package inspect

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/skerry-os/skerry/builder/bootscript"
	"github.com/skerry-os/skerry/builder/progress"
)

// WriteText writes the report for a person: what the image is made of, and at
// the end a line for each finding, or "no findings".
func (r *Report) WriteText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	row("image", "%s", r.Image)
	row("disk", "%s, %s", progress.Size(r.Size), r.DiskID)
	for _, p := range r.Partitions {
		used := "nothing found in it"
		if p.Used > 0 {
			used = progress.Size(p.Used) + " used"
		}
		row(fmt.Sprintf("partition %d", p.Number), "%s, at %d MiB, %s, %s", p.Name, p.Offset>>20, progress.Size(p.Size), used)
	}
	for _, release := range r.Releases {
		release.rows(row)
	}
	if r.Manifest != "" {
		row("manifest", "%s", r.Manifest)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", printable(note))
	}
	for _, f := range r.Findings {
		fmt.Fprintf(w, "finding: %s\n", f)
	}
	if len(r.Findings) == 0 {
		_, err := fmt.Fprintln(w, "no findings")
		return err
	}
	return nil
}

func (r *Release) rows(row func(name, format string, args ...any)) {
	starts := ""
	if r.Default {
		starts = ", starts by default"
	}
	row("release", "%s for %s%s", r.Version, r.Board, starts)
	row("kernel", "%s, %s", r.Kernel, r.Architecture)
	if r.only != "" {
		row("boot area", "%s, %s used of %s", r.Entry, progress.Size(r.areaUsed), progress.Size(r.Size))
	} else {
		row("kernel image", "%s, %s", r.Entry, progress.Size(r.Size))
		row("", "sha256 %s", r.SHA256)
	}
	var parts []string
	for _, s := range r.Sections {
		switch s.Name {
		case ".linux", ".initrd", ".cmdline", ".osrel", ".uname", bootscript.Kernel, bootscript.Initramfs:
			parts = append(parts, s.Name+" "+progress.Size(s.Size))
		}
	}
	row("", "%s", strings.Join(parts, ", "))
	row("initramfs", "%d files, %s unpacked", r.InitramfsFiles, progress.Size(r.InitramfsBytes))
	row("command line", "%s", r.CommandLine)
	s := r.Slot
	if s == nil {
		return
	}
	row("slot image", "%s, %s", s.Partition, progress.Size(s.Size))
	row("", "sha256 %s", s.SHA256)
	row("root", "%s, %d files, %s unpacked", progress.Size(s.RootSize), s.Files, progress.Size(s.FileBytes))
	row("", "hash %s", s.RootHash)
	row("modules", "%d", s.Modules)
	row("cluster", "%s of the slot image", progress.Size(s.ClusterBytes))
	for _, image := range s.Images {
		form := "unpacked"
		if image.Packed {
			form = "packed"
		}
		row("container", "%s, %s %s", image.Reference, progress.Size(image.Size), form)
		row("", "%s", image.Digest)
	}
}
