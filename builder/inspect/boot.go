package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/builder/uki"
	"github.com/skerry-os/skerry/fat"
	"github.com/skerry-os/skerry/loaderconf"
	"github.com/skerry-os/skerry/nodeconfig"
)

// Names on partition boot.
const (
	entryFolder = "EFI/Linux"
	loaderConf  = "loader/loader.conf"

	// maxConfig is more than any node config or loader.conf has.
	maxConfig = 1 << 20
	// maxKernelImages bounds how many are looked at: two are normal.
	maxKernelImages = 16
)

// target is what one architecture is called in the parts of an image.
type target struct {
	goarch  string
	machine uki.Machine
	loader  string // path of the removable medium's loader (UEFI 2.10, section 3.5.1.1)
}

var targets = []target{
	{"amd64", uki.X8664, "EFI/BOOT/BOOTX64.EFI"},
	{"arm64", uki.ARM64, "EFI/BOOT/BOOTAA64.EFI"},
}

func targetOf(machine uki.Machine) (target, bool) {
	at := slices.IndexFunc(targets, func(t target) bool { return t.machine == machine })
	if at < 0 {
		return target{}, false
	}
	return targets[at], true
}

// onBoot names a file on partition boot in findings.
func onBoot(name string) string { return disk.Boot + ": " + name }

// checkBoot checks partition boot: the file system, what firmware starts, what
// that is told, and the node config.
func (i *inspection) checkBoot(_ context.Context, shown *progress.Step) error {
	p, r := i.partition(disk.Boot)
	if p == nil {
		return nil // a finding about the table says so
	}
	p.Used = checkFAT(i.Report, disk.Boot, r, p.Size)
	var err error
	if i.boot, err = fat.Open(r, p.Size); err == nil {
		err = i.boot.Check()
	}
	if err != nil {
		i.boot = nil
		i.find(disk.Boot, "Its files cannot be read: %v.", err)
		return nil
	}
	if i.uboot {
		i.checkUBoot()
	} else {
		i.checkLoaders()
		i.checkDefault()
	}
	i.checkConfig()
	shown.Detail("%s used of %s", progress.Size(p.Used), progress.Size(p.Size))
	return nil
}

// checkLoaders checks the programs that firmware starts from a disk that it
// knows nothing of.
func (i *inspection) checkLoaders() {
	var names []string
	for _, t := range targets {
		names = append(names, path.Base(t.loader))
		file, size, err := openBoot(i.boot, t.loader)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		i.Architecture = t.goarch // of the last one; there is one on an image
		if err != nil {
			i.find(onBoot(t.loader), "It cannot be read: %v.", err)
			continue
		}
		program, err := uki.Open(file, size)
		if err != nil {
			i.find(onBoot(t.loader), "It is no EFI program: %v.", err)
		} else if program.Machine != t.machine {
			i.find(onBoot(t.loader), "It is for %v: firmware of %v looks for this name.", program.Machine, t.machine)
		}
	}
	if i.Architecture == "" {
		i.find(onBoot("EFI/BOOT"), "There is none of %s: firmware finds nothing to start.", strings.Join(names, ", "))
	}
}

// checkDefault finds the kernel images and which of them starts by default.
func (i *inspection) checkDefault() {
	entries, err := i.boot.ReadDir(entryFolder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		i.find(onBoot(entryFolder), "It cannot be read: %v.", err)
		return
	}
	for _, e := range entries {
		if !e.IsDir() && strings.EqualFold(path.Ext(e.Name()), ".efi") {
			i.Releases = append(i.Releases, &Release{Entry: e.Name(), Sections: []Section{}})
		}
	}
	if len(i.Releases) == 0 {
		i.find(onBoot(entryFolder), "There is no kernel image.")
	}
	if len(i.Releases) > maxKernelImages {
		i.find(onBoot(entryFolder), "There are %d kernel images: only %d are looked at.", len(i.Releases), maxKernelImages)
		i.Releases = i.Releases[:maxKernelImages]
	}
	contents, err := i.readBoot(loaderConf)
	if errors.Is(err, fs.ErrNotExist) {
		i.find(onBoot(loaderConf), "It is missing: the loader does not know what to start.")
		return
	}
	if err == nil {
		contents, err = loaderconf.Read(readOnly{strings.NewReader(string(contents))})
	}
	if err != nil {
		i.find(onBoot(loaderConf), "It cannot be used: %v.", err)
		return
	}
	entry := loaderconf.Default(contents)
	for _, release := range i.Releases {
		release.Default = strings.EqualFold(release.Entry, entry)
		if release.Default {
			return
		}
	}
	i.find(onBoot(loaderConf), "The default is %q, which is not in %s.", entry, entryFolder)
}

// checkConfig checks the node config if there is one.
func (i *inspection) checkConfig() {
	contents, err := i.readBoot(nodeconfig.FileName)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		_, err = nodeconfig.Parse(nodeconfig.FileName, contents)
	}
	if err != nil {
		i.find(onBoot(nodeconfig.FileName), "A node will not accept it: %v.", strings.TrimSuffix(err.Error(), "."))
	}
}

// readBoot reads a small file of partition boot.
func (i *inspection) readBoot(name string) ([]byte, error) {
	file, size, err := openBoot(i.boot, name)
	if err != nil {
		return nil, err
	}
	if size > maxConfig {
		return nil, fmt.Errorf("it has %d bytes: at most %d are expected", size, maxConfig)
	}
	b := make([]byte, size)
	_, err = io.ReadFull(io.NewSectionReader(file, 0, size), b)
	return b, err
}

// openBoot opens a file of partition boot.
func openBoot(boot *fat.FS, name string) (io.ReaderAt, int64, error) {
	file, err := boot.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	r, ok := file.(io.ReaderAt)
	if !ok {
		return nil, 0, errors.New("it is a directory")
	}
	return r, info.Size(), nil
}

// readOnly is a loader.conf that nobody can change.
type readOnly struct{ io.ReaderAt }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, fs.ErrPermission }
func (readOnly) Sync() error                        { return nil }

// osRelease reads the fields of os-release(5) as the builder writes them.
func osRelease(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			fields[key] = strings.Trim(value, `"`)
		}
	}
	return fields
}

// differing returns the fields that two os-releases disagree about, sorted.
func differing(a, b map[string]string) []string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(a)) {
		if a[key] != b[key] {
			keys = append(keys, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[key]; !ok {
			keys = append(keys, key)
		}
	}
	return keys
}
