// Package standalone makes the single binary a service of a Linux machine with
// systemd, and takes it away again.
//
// Install writes what systemd and people need around the files that package
// place knows: the unit, the settings, kernel modules and parameters for the
// next boot, and the commands. It can be run again at any time and changes then
// only what differs. Uninstall ends the service and its Pods and removes all
// that was written; state and settings only if it is told to.
package standalone

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/cluster/atomicfile"
	"github.com/skerry-os/skerry/distribution/place"
)

// Service is the name of the unit.
const Service = "skerry.service"

// What Install writes besides the files of a version.
const (
	unitFile    = "/etc/systemd/system/" + Service
	wantsLink   = "/etc/systemd/system/multi-user.target.wants/" + Service
	modulesFile = "/etc/modules-load.d/skerry.conf"
	sysctlFile  = "/etc/sysctl.d/90-skerry.conf"
	commandsDir = "/usr/local/bin"

	// SettingsDir has what a person decided.
	SettingsDir = "/etc/skerry"
	// TokenFile is where the token stays that an agent was given.
	TokenFile = SettingsDir + "/token"

	header = "# Written by `skerry install`, removed by `skerry uninstall`.\n"
)

// commands are the names by which people call the program.
var commands = []string{place.Program, "kubectl"}

// program is the single binary by the name that stays through updates.
const program = place.Lib + "/" + place.Current + "/" + place.Program

// unit is the service. Of its processes only the first is told to stop: it ends
// the others, and Pods and their shims go on. A start that fails is tried again
// after a second, and after up to a minute when it fails again and again
// (systemd 254 and newer).
var unit = header + `[Unit]
Description=Skerry: Kubernetes in one file
Documentation=https://skerry.dev/
Wants=network-online.target
After=network-online.target nftables.service firewalld.service
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart=` + program + ` run
KillMode=process
Delegate=yes
Restart=always
RestartSec=1s
RestartSteps=6
RestartMaxDelaySec=60s
TimeoutStartSec=infinity
TimeoutStopSec=60s
WatchdogSec=60s
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
OOMScoreAdjust=-999

[Install]
WantedBy=multi-user.target
`

// writer makes files and notes whether anything changed.
type writer struct {
	place.Place
	out     io.Writer
	changed bool
}

func (w *writer) say(format string, args ...any) { fmt.Fprintf(w.out, format+"\n", args...) }

// file writes a file, unless it is there with these contents.
func (w *writer) file(path, contents string, mode fs.FileMode) error {
	name := w.Path(path)
	if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, []byte(contents)) {
		return os.Chmod(name, mode)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := atomicfile.Write(name, []byte(contents), mode); err != nil {
		return err
	}
	w.changed = true
	w.say("wrote %s", name)
	return nil
}

// link makes a symbolic link, unless it is there.
func (w *writer) link(path, target string) error {
	name := w.Path(path)
	if old, err := os.Readlink(name); err == nil && old == target {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.Symlink(target, name); err != nil {
		return err
	}
	w.say("wrote %s", name)
	return nil
}

// isOurs tells whether a path is a link into the folder of the versions.
func (w *writer) isOurs(path string) bool {
	target, err := os.Readlink(w.Path(path))
	return err == nil && strings.HasPrefix(target, place.Lib+"/")
}

// missing tells whether there is nothing at a path.
func (w *writer) missing(path string) bool {
	_, err := os.Lstat(w.Path(path))
	return errors.Is(err, fs.ErrNotExist)
}
