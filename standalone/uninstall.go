package standalone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/distribution/place"
)

// Uninstall says what is taken away, and what of it is kept.
type Uninstall struct {
	place.Place
	DataDir string
	RunDir  string
	Purge   func() bool // whether state and settings go too; asked last
	Traces  Traces
	Out     io.Writer
}

// Traces are what a node leaves in the kernel besides mounts, and in folders that
// are not its own.
type Traces struct {
	ControlGroups []string // paths below the root of the hierarchy; what runs there is killed
	Interfaces    []string
	Tables        []string // of nftables, of any family
	Networks      []string // names of those of CNI
}

// kubeletDir is where the kubelet keeps volumes of Pods, and logDirs where their
// output is.
const kubeletDir = "/var/lib/kubelet"

var logDirs = []string{"/var/log/pods", "/var/log/containers"}

// Run ends the service and its Pods, removes what they left in the kernel, and
// then all files. What is gone already is no error, so it can be repeated. As
// long as something of the first steps fails, the files stay.
func (u Uninstall) Run(ctx context.Context) error {
	w := &writer{Place: u.Place, out: u.Out}
	if u.Root == "" {
		if err := u.end(ctx, w); err != nil {
			return fmt.Errorf("%w\nnothing was removed from the disk: put that right and run `skerry uninstall` again", err)
		}
	}
	purge := u.Purge()
	errs := []error{u.removeFiles(w)}
	if u.Root == "" && runsSystemd() {
		_, err := systemctl(ctx, "daemon-reload")
		errs = append(errs, err)
	}
	errs = append(errs, u.removeState(w, purge))
	return errors.Join(errs...)
}

// end ends everything that runs.
func (u Uninstall) end(ctx context.Context, w *writer) error {
	if runsSystemd() && !w.missing(unitFile) {
		w.say("stopping %s", Service)
		if _, err := systemctl(ctx, "disable", "--now", "--quiet", Service); err != nil {
			return err
		}
		// Of a service that has failed, or had to be killed, systemd keeps the name;
		// that there is nothing to forget is no error.
		_, _ = systemctl(ctx, "reset-failed", Service)
	}
	w.say("ending Pods")
	for _, group := range u.Traces.ControlGroups {
		if err := endControlGroup(ctx, filepath.Join(cgroupRoot, group)); err != nil {
			return err
		}
		if strings.HasSuffix(group, ".slice") && runsSystemd() {
			// Nothing is left in it, and systemd forgets it. It may never have been there.
			_, _ = systemctl(ctx, "stop", "--quiet", filepath.Base(group))
		}
	}
	mounts, err := mountsBelow(u.DataDir, u.RunDir, kubeletDir, namespacesDir+"/cni-")
	if err != nil {
		return err
	}
	if err := unmount(mounts); err != nil {
		return err
	}
	if len(mounts) > 0 {
		w.say("unmounted %d file systems", len(mounts))
	}
	return errors.Join(removeNamespaces(), removeInterfaces(w, u.Traces.Interfaces), removeTables(w, u.Traces.Tables))
}

// removeFiles removes what Install wrote, but not settings.
func (u Uninstall) removeFiles(w *writer) error {
	var errs []error
	for _, path := range []string{wantsLink, unitFile, modulesFile, sysctlFile} {
		errs = append(errs, w.remove(path))
	}
	for _, name := range commands {
		if path := filepath.Join(commandsDir, name); w.isOurs(path) {
			errs = append(errs, w.remove(path))
		}
	}
	return errors.Join(append(errs, w.remove(place.Lib))...)
}

// cniResults is where CNI remembers what it did for containers. Other container
// runtimes have theirs there too.
const cniResults = "/var/lib/cni/results"

// removeResults removes what CNI remembers of the networks.
func (u Uninstall) removeResults(w *writer) error {
	var errs []error
	folder := w.Path(cniResults)
	for _, network := range u.Traces.Networks {
		errs = append(errs, removeFrom(folder, network+"-*"))
	}
	_ = os.Remove(filepath.Dir(folder)) // if nothing of others is in it
	return errors.Join(errs...)
}

// removeState removes what the cluster wrote, or says where it stays.
func (u Uninstall) removeState(w *writer, purge bool) error {
	errs := []error{w.remove(u.RunDir), u.removeResults(w)}
	state := slices.Concat([]string{u.DataDir, kubeletDir}, logDirs, []string{SettingsDir})
	for _, path := range state {
		switch {
		case w.missing(path):
		case purge:
			errs = append(errs, w.remove(path))
		default:
			w.say("kept %s", w.Path(path))
		}
	}
	if !purge {
		w.say("`skerry uninstall --purge` would have removed them too; a new installation goes on with them")
	}
	return errors.Join(errs...)
}

// remove removes a file or a folder with all that is in it. It does not cross
// into other file systems: what is mounted below is somebody else's.
func (w *writer) remove(path string) error {
	name := w.Path(path)
	if w.missing(path) {
		return nil
	}
	if inner, err := mountsBelow(name); err != nil {
		return err
	} else if len(inner) > 0 {
		return fmt.Errorf("%s was not removed: %s is mounted there: unmount it", name, inner[0])
	}
	if err := os.RemoveAll(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w.say("removed %s", name)
	return nil
}
