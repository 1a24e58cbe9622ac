// Package inspect takes a finished disk image apart, without mounting it and
// without root, and says what it is made of and what is wrong with it.
//
// It promises to look at everything a board needs from power-on to /sbin/init:
// partition table, file system of partition boot, loader, kernel image,
// initramfs, hash tree, and every file of the root. All it reads is taken for
// hostile: sizes and counts are bounded, and files are unpacked only from a
// slot that is what its root hash says. The contents of the root file system
// are unpacked by fsck.erofs of the host (erofs-utils 1.5 or newer).
//
// Whether the image boots, and whether its programs do what they should, is
// left to tests that boot it.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/fat"
	"github.com/skerry-os/skerry/verity"
)

// Options say how to inspect.
type Options struct {
	WorkDir  string             // for the unpacked root: needs its size; the system's temporary folder if empty
	Progress *progress.Progress // shows nothing if nil
}

// Finding is one thing that is wrong with an image.
type Finding struct {
	Where string `json:"where"` // a partition and a file on it: "slot-a: usr/sbin/init"
	What  string `json:"what"`  // a sentence
}

func (f Finding) String() string { return f.Where + ": " + f.What }

// maxFindings bounds a report about an image that is nothing but damage.
const maxFindings = 200

// Report is what was found out about an image.
type Report struct {
	Image        string      `json:"image"`
	Size         int64       `json:"size"` // of the disk, in bytes
	DiskID       string      `json:"diskID,omitempty"`
	Board        string      `json:"board,omitempty"`        // of the release that boots by default
	Version      string      `json:"version,omitempty"`      // of the release that boots by default
	Architecture string      `json:"architecture,omitempty"` // Go's name, as in arm64
	Manifest     string      `json:"manifest,omitempty"`     // the file beside the image, if there is one
	Partitions   []Partition `json:"partitions"`
	Releases     []*Release  `json:"releases"` // one for each kernel image on partition boot, or boot area of a slot
	Findings     []Finding   `json:"findings"`
	Notes        []string    `json:"notes,omitempty"` // what a person may want to know, but is not wrong
	more         int         // findings beyond the limit
}

// Partition is one entry of the partition table.
type Partition struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	Type   string `json:"type"` // GUID, upper case
	ID     string `json:"id"`   // GUID, upper case
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`
	Used   int64  `json:"used"` // bytes that something was found in; 0 where nobody looked
}

// Release is a kernel image on partition boot and the slot that it starts, or a
// slot with a boot area.
type Release struct {
	Entry          string    `json:"entry"` // file name in EFI/Linux, or the slot that has a boot area
	Default        bool      `json:"default"`
	Version        string    `json:"version,omitempty"`
	Board          string    `json:"board,omitempty"`
	Kernel         string    `json:"kernel,omitempty"` // as `uname -r` prints it
	Architecture   string    `json:"architecture,omitempty"`
	CommandLine    string    `json:"commandLine,omitempty"`
	Size           int64     `json:"size"`
	SHA256         string    `json:"sha256,omitempty"`
	Sections       []Section `json:"sections"`
	InitramfsFiles int       `json:"initramfsFiles"`
	InitramfsBytes int64     `json:"initramfsBytes"` // unpacked
	Slot           *Slot     `json:"slot,omitempty"`

	// where is what findings about the command line name; empty for kernel images.
	where string
	// only is the slot that it starts; any if it is empty.
	only      string
	areaUsed  int64             // bytes of the boot area that its files take
	areaEnd   int64             // of the boot area, in bytes
	osRelease map[string]string // of the kernel image
	params    verity.Params
	intact    bool // the slot is what the kernel image says
}

// Section is one part of a kernel image.
type Section struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// Slot is what a kernel image takes for its root.
type Slot struct {
	Partition string `json:"partition"`
	Size      int64  `json:"size"`   // of the slot image in bytes
	SHA256    string `json:"sha256"` // of the slot image
	RootHash  string `json:"rootHash"`
	RootSize  int64  `json:"rootSize"`  // of the file system in bytes
	Files     int    `json:"files"`     // in the root, directories and links included
	FileBytes int64  `json:"fileBytes"` // their contents, unpacked
	// What the cluster's files take of the slot in bytes, compressed.
	ClusterBytes int64 `json:"clusterBytes"`
	Modules      int   `json:"modules"`
	// Container images that the node carries.
	Images []ContainerImage `json:"images,omitempty"`
}

// ContainerImage is an image in a root.
type ContainerImage struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"` // of the manifest, or of the index that it was chosen from
	Size      int64  `json:"size"`   // of the layer in bytes, unpacked; of packed images, of all blobs
	Packed    bool   `json:"packed,omitempty"`
}

// find adds a finding.
func (r *Report) find(where, format string, args ...any) {
	if len(r.Findings) >= maxFindings {
		r.more++
		return
	}
	r.Findings = append(r.Findings, Finding{printable(where), printable(fmt.Sprintf(format, args...))})
}

// printable makes one line of s that does nothing to a terminal: names in an
// image can be anything, and some errors have several lines.
func printable(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// inspection is one run over an image.
type inspection struct {
	*Report
	image    *os.File
	workDir  string
	progress *progress.Progress
	boot     *fat.FS // nil if it cannot be read

	// Of boards with U-Boot.
	uboot       bool
	family      string // of the processor's boot loader; see familyOf
	defaultSlot string // by the boot state
}

// Inspect looks at the disk image at path. The error says that it could not
// be looked at; what is wrong with it are the report's findings.
func Inspect(ctx context.Context, path string, o Options) (*Report, error) {
	report, err := inspect(ctx, path, o)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", path, err)
	}
	return report, nil
}

func inspect(ctx context.Context, path string, o Options) (report *Report, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if err := refuse(file, size, path); err != nil {
		return nil, err
	}
	i := &inspection{
		Report: &Report{Image: path, Size: size, Partitions: []Partition{}, Releases: []*Release{}, Findings: []Finding{}},
		image:  file, progress: o.Progress,
	}
	if i.progress == nil {
		i.progress = progress.Discard()
	}
	if i.workDir, err = os.MkdirTemp(o.WorkDir, "skerry-inspect-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove(i.workDir)) }()
	if err := i.progress.Run(ctx, []progress.Task{
		{Name: "partition table", Run: i.checkTable},
		{Name: "boot", Run: i.checkBoot},
		{Name: "kernel images", Run: i.checkKernelImages},
		{Name: "slots", Run: i.checkSlots},
		{Name: "root", Run: i.checkRoots},
		{Name: "manifest", Run: i.checkManifest},
	}); err != nil {
		return nil, err
	}
	if i.more > 0 {
		i.Findings = append(i.Findings, Finding{"image", fmt.Sprintf("%d more findings are left out.", i.more)})
	}
	return i.Report, nil
}

// partition returns the partition of that name and what is on it.
func (i *inspection) partition(name string) (*Partition, *io.SectionReader) {
	for n := range i.Partitions {
		if p := &i.Partitions[n]; p.Name == name {
			return p, io.NewSectionReader(i.image, p.Offset, p.Size)
		}
	}
	return nil, nil
}
