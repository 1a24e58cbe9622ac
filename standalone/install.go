package standalone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/skerry-os/skerry/distribution"
	"github.com/skerry-os/skerry/distribution/place"
	"github.com/skerry-os/skerry/jointoken"
)

// Install says what is made a service.
type Install struct {
	place.Place
	Version  string   // the folder with the program
	Settings Settings // the role, and what flags said
	Token    string   // goes to TokenFile; none if empty
	Replace  bool     // settings that are there and differ
	NoStart  bool     // enable the service, and leave the start to the next boot
	// ServerState is there on machines that were a server, and Joined on those that
	// have joined a cluster.
	ServerState, Joined string
	Modules             []string // of the kernel
	Sysctls             []string // name=value
	Timeout             time.Duration
	Out                 io.Writer
}

// Check refuses what contradicts what is there. It writes nothing.
func (i Install) Check() error {
	w := &writer{Place: i.Place, out: i.Out}
	if _, err := distribution.ReadManifest(i.Place.Version(i.Version)); err != nil {
		return fmt.Errorf("%w: run the file that was downloaded", err)
	}
	if i.starts() && !runsSystemd() {
		return errors.New("this machine does not run systemd, which starts the service: pass --no-start and start `skerry run` by other means")
	}
	there, err := w.readSettings()
	if err != nil {
		return err
	}
	if err := w.checkSettings(i.Settings, there); err != nil && !i.replaces(there) {
		return err
	}
	if i.Settings.role() == "agent" {
		if err := i.checkAgent(w, there); err != nil {
			return err
		}
	}
	return w.checkCommand()
}

// checkAgent refuses an agent that was a server, and one that could not join.
func (i Install) checkAgent(w *writer, there Settings) error {
	if !w.missing(i.ServerState) {
		return fmt.Errorf("%s is the state of a cluster server: remove it if it is not needed any more, or pass another --data-dir", w.Path(i.ServerState))
	}
	token, given := i.Settings["token"]
	if i.Token != "" {
		token, given = i.Token, true
	}
	if given {
		if _, err := jointoken.Parse(fmt.Sprint(token)); err != nil {
			return fmt.Errorf("the token: %w: `skerry token` on a server prints one", err)
		}
		return nil
	}
	if there["token"] == nil && there["token-file"] == nil && w.missing(i.Joined) {
		return errors.New("--token-file: a machine that joins needs what `skerry token` on a server prints")
	}
	return nil
}

// starts tells whether the service is started now.
func (i Install) starts() bool { return i.Root == "" && !i.NoStart }

// Run installs, and where the root is the machine's own, starts the service and
// waits until it is ready.
func (i Install) Run(ctx context.Context) error {
	if err := i.Check(); err != nil {
		return err
	}
	w := &writer{Place: i.Place, out: i.Out}
	there, err := w.readSettings()
	if err != nil {
		return err
	}
	former, err := i.Running()
	if err != nil {
		return err
	}
	if err := i.write(w, there); err != nil {
		return err
	}
	if former != i.Version {
		if err := i.Switch(i.Version); err != nil {
			return err
		}
		w.changed = true
	}
	if i.Root != "" {
		return i.enableInRoot(w)
	}
	if err := i.enable(ctx, w); err != nil {
		return err
	}
	if !i.starts() {
		w.say("installed %s; `systemctl start %s` starts it, and so does the next boot", i.Version, Service)
		return nil
	}
	if err := i.start(ctx, w); err != nil {
		return err
	}
	return i.removeFormer(w)
}

// replaces tells whether settings may be replaced: those of the same role.
func (i Install) replaces(there Settings) bool {
	return i.Replace && there.role() == i.Settings.role()
}

// write writes all files.
func (i Install) write(w *writer, there Settings) error {
	if i.Token != "" {
		if err := w.file(TokenFile, i.Token+"\n", 0o600); err != nil {
			return err
		}
	}
	if err := w.writeSettings(i.Settings, there, i.replaces(there)); err != nil {
		return err
	}
	if err := w.file(modulesFile, header+strings.Join(i.Modules, "\n")+"\n", 0o644); err != nil {
		return err
	}
	sysctls := strings.ReplaceAll(strings.Join(i.Sysctls, "\n"), "=", " = ")
	if err := w.file(sysctlFile, header+sysctls+"\n", 0o644); err != nil {
		return err
	}
	if err := w.file(unitFile, unit, 0o644); err != nil {
		return err
	}
	for _, name := range commands {
		path := filepath.Join(commandsDir, name)
		if name != place.Program {
			if other := w.otherCommand(path, name); other != "" {
				w.say("%s stays as it is: `skerry %s` does the same", other, name)
				continue
			}
		}
		if err := w.link(path, program); err != nil {
			return err
		}
	}
	return nil
}

// otherCommand returns the command of a name that the machine has already.
func (w *writer) otherCommand(path, name string) string {
	switch {
	case w.isOurs(path):
		return ""
	case !w.missing(path):
		return w.Path(path)
	case w.Root != "":
		return ""
	}
	found, _ := exec.LookPath(name) // an error says that there is none
	return found
}

// checkCommand refuses to go on where the command skerry is something else.
func (w *writer) checkCommand() error {
	path := filepath.Join(commandsDir, place.Program)
	if w.missing(path) || w.isOurs(path) {
		return nil
	}
	return fmt.Errorf("%s is there and was not made by `skerry install`: move it away", w.Path(path))
}

// enableInRoot has the service start when the system in the root is booted.
func (i Install) enableInRoot(w *writer) error {
	if err := w.link(wantsLink, unitFile); err != nil {
		return err
	}
	w.say("installed %s below %s; it starts when that is booted", i.Version, i.Root)
	return i.removeFormer(w)
}

// removeFormer removes all versions but the one that runs.
func (i Install) removeFormer(w *writer) error {
	versions, err := i.Versions()
	if err != nil {
		return err
	}
	for _, version := range versions {
		if version == i.Version {
			continue
		}
		if err := os.RemoveAll(i.Place.Version(version)); err != nil {
			return err
		}
		w.say("removed version %s", version)
	}
	return nil
}
