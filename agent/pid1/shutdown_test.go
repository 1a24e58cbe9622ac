package pid1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// fake is a system in memory. A call named in hang blocks until release.
type fake struct {
	mu      sync.Mutex
	log     []string // in order: what happened
	alive   map[int]Process
	deaf    map[int]unix.Signal // processes that end at this signal only
	mounts  []Mount
	busy    map[string]bool
	frozen  map[string]bool // cannot be made read-only either
	killed  map[int][]unix.Signal
	killErr error
	reboots []int
	syncs   int
	hang    map[string]bool
	release chan struct{}
}

func newFake() *fake {
	return &fake{
		alive: map[int]Process{}, deaf: map[int]unix.Signal{}, busy: map[string]bool{}, frozen: map[string]bool{},
		killed: map[int][]unix.Signal{}, hang: map[string]bool{}, release: make(chan struct{}),
	}
}

func (f *fake) did(what string) {
	f.mu.Lock()
	hang := f.hang[what]
	f.log = append(f.log, what)
	f.mu.Unlock()
	if hang {
		<-f.release
	}
}

func (f *fake) Processes() ([]Process, error) {
	if f.hang["processes"] {
		<-f.release
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var table []Process
	for _, p := range f.alive {
		table = append(table, p)
	}
	return table, nil
}

func (f *fake) Kill(pid int, s unix.Signal) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.killErr != nil {
		return f.killErr
	}
	f.killed[pid] = append(f.killed[pid], s)
	if want, deaf := f.deaf[pid]; s == unix.SIGTERM && !deaf || deaf && s == want {
		delete(f.alive, pid)
	}
	return nil
}

func (f *fake) Sync() {
	f.did("sync")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.syncs++
}

func (f *fake) Mounts() ([]Mount, error) {
	f.did("mounts")
	return slices.Clone(f.mounts), nil
}

func (f *fake) Unmount(path string, flags int) error {
	if flags&unix.MNT_DETACH != 0 {
		f.did("detach " + path)
		return nil
	}
	f.did("unmount " + path)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.mounts {
		if f.busy[path] || strings.HasPrefix(m.Path, path+"/") {
			return unix.EBUSY
		}
	}
	f.mounts = slices.DeleteFunc(f.mounts, func(m Mount) bool { return m.Path == path })
	return nil
}

func (f *fake) ReadOnly(path string) error {
	f.did("read-only " + path)
	if f.frozen[path] {
		return unix.EBUSY
	}
	return nil
}

func (f *fake) Reboot(command int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, "reboot")
	f.reboots = append(f.reboots, command)
	return nil
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// populated is a node with processes and mounts.
func populated() *fake {
	f := newFake()
	for _, p := range []Process{
		{PID: 1, Name: "init"}, {PID: 2, Name: "kthreadd", Kernel: true}, {PID: os.Getpid(), Name: "self"},
		{PID: 50, Name: "web"}, {PID: 51, Name: "deaf"}, {PID: 52, Name: "zombie", Zombie: true},
	} {
		f.alive[p.PID] = p
	}
	f.deaf[51] = unix.SIGKILL
	f.mounts = []Mount{
		{"/", "erofs", "/dev/dm-1"}, {"/proc", "proc", "proc"}, {"/sys", "sysfs", "sysfs"}, {"/sys/fs/cgroup", "cgroup2", "cgroup2"},
		{"/dev", "devtmpfs", "dev"}, {"/run", "tmpfs", "tmpfs"}, {"/var", "ext4", "/dev/vda4"},
		{"/var/lib/kubelet/pods/1/secret", "tmpfs", "tmpfs"}, {"/run/containerd/rootfs", "overlay", "overlay"}, {"/run/netns/x", "nsfs", "nsfs"},
	}
	return f
}

func TestShutdownKeepsItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := populated()
		s := &Shutdown{Log: quiet(), Sys: f,
			StopServices: func(ctx context.Context) error { f.did("services"); return nil },
			Hooks:        []Hook{{"clock", func(context.Context) error { f.did("clock"); return nil }}, {"log", func(context.Context) error { f.did("log"); return errors.New("no disk") }}},
		}
		if err := s.Run(t.Context(), Request{Action: PowerOff}, nil); err != nil {
			t.Fatal(err)
		}
		want := []string{"services", "sync", "clock", "log", "mounts", "unmount /run/containerd/rootfs",
			"unmount /var/lib/kubelet/pods/1/secret", "unmount /var", "sync", "reboot"}
		if !slices.Equal(f.log, want) {
			t.Errorf("did  %q\nwant %q", f.log, want)
		}
		if !slices.Equal(f.reboots, []int{unix.LINUX_REBOOT_CMD_POWER_OFF}) {
			t.Errorf("reboot(%x)", f.reboots)
		}
		for pid, want := range map[int]int{50: 2, 1: 0, 2: 0, os.Getpid(): 0, 52: 0} {
			if got := f.killed[pid]; len(got) != want {
				t.Errorf("process %d got %v", pid, got)
			}
		}
		if got := f.killed[51]; got[0] != unix.SIGTERM || got[len(got)-1] != unix.SIGKILL {
			t.Errorf("deaf process got %v", got)
		}
	})
}

func TestAHangInAnyStepStillReachesReboot(t *testing.T) {
	steps := []string{"services", "processes", "sync", "hook", "mounts", "unmount /var", "unmount /var/lib/kubelet/pods/1/secret", "read-only /var", "detach /var", "panic"}
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := populated()
				f.deaf[51] = 99 // never
				f.hang[step] = true
				f.busy["/var"] = step == "read-only /var" || step == "detach /var"
				f.frozen["/var"] = step == "detach /var"
				begin := time.Now()
				s := &Shutdown{Log: quiet(), Sys: f, Total: 10 * time.Minute,
					StopServices: func(context.Context) error { f.did("services"); return nil },
					Hooks: []Hook{{"clock", func(context.Context) error {
						if step == "panic" {
							panic("in a hook")
						}
						f.did("hook")
						return nil
					}}},
				}
				if err := s.Run(t.Context(), Request{Action: Reboot}, nil); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); took > 100*time.Second {
					t.Errorf("took %v", took)
				}
				f.mu.Lock()
				if f.log[len(f.log)-1] != "reboot" || len(f.reboots) != 1 {
					t.Errorf("did %q", f.log)
				}
				if step != "mounts" && !slices.Contains(f.log, "unmount /var") {
					t.Errorf("/var was never tried: %q", f.log)
				}
				f.mu.Unlock()
				close(f.release)
			})
		})
	}
}

func TestTotalEndsWhatStepsDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := populated()
		f.hang["services"] = true
		s := &Shutdown{Log: quiet(), Sys: f, ServicesTime: time.Hour, Total: 90 * time.Second,
			StopServices: func(context.Context) error { f.did("services"); return nil }}
		begin := time.Now()
		if err := s.Run(t.Context(), Request{Action: Halt}, nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 90*time.Second || f.reboots[0] != unix.LINUX_REBOOT_CMD_HALT {
			t.Errorf("%v, %x", took, f.reboots)
		}
		close(f.release)
	})
}

func TestImpatienceCutsTheShutdownShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := populated()
		f.hang["services"] = true
		requests := make(chan Request, 2)
		s := &Shutdown{Log: quiet(), Sys: f, StopServices: func(context.Context) error { f.did("services"); return nil }}
		begin := time.Now()
		time.AfterFunc(3*time.Second, func() { requests <- Request{Action: Reboot} })
		time.AfterFunc(4*time.Second, func() { requests <- Request{Action: Reboot, Immediate: true} })
		if err := s.Run(t.Context(), Request{Action: PowerOff}, requests); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 4*time.Second || f.reboots[0] != unix.LINUX_REBOOT_CMD_RESTART {
			t.Errorf("%v, %x", took, f.reboots)
		}
		close(f.release)
	})
}

func TestBusyMountIsMadeReadOnlyAndElseDetached(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := populated()
			f.busy["/var"], f.frozen["/var"] = true, frozen
			s := &Shutdown{Log: quiet(), Sys: f}
			if err := s.Run(t.Context(), Request{Action: Reboot}, nil); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(f.log, "read-only /var") || slices.Contains(f.log, "detach /var") != frozen {
				t.Errorf("frozen %v: did %q", frozen, f.log)
			}
		})
	}
}

func TestMountinfoIsReadWithItsEscapes(t *testing.T) {
	text := `22 26 0:21 / /sys rw,relatime - sysfs sysfs rw
36 35 98:0 /mnt1 /mnt\040two\134 rw,noatime master:1 shared:2 - ext3 /dev/r\011oot rw,errors=continue
nonsense
37 35 98:0 / /end\04 rw - ext4 /dev/x
38 35 98:0 / /big\777 rw - ext4 /dev/x rw
`
	got, err := parseMounts(strings.NewReader(text))
	want := []Mount{{"/sys", "sysfs", "sysfs"}, {`/mnt two\`, "ext3", "/dev/r\toot"}, {`/end\04`, "ext4", "/dev/x"}, {`/big\777`, "ext4", "/dev/x"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	own, err := Kernel().Mounts()
	if err != nil || !slices.ContainsFunc(own, func(m Mount) bool { return m.Path == "/proc" && m.Type == "proc" }) {
		t.Errorf("%v, %v", own, err)
	}
	if _, err := parseMounts(strings.NewReader(strings.Repeat("x", 2<<20))); err == nil {
		t.Error("endless line accepted")
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(`36 35 98:0 /mnt1 /mnt\040two\1 rw,noatime master:1 - ext3 /dev/root rw`)
	f.Fuzz(func(t *testing.T, s string) {
		mounts, _ := parseMounts(strings.NewReader(s))
		for _, m := range mounts {
			fmt.Fprint(io.Discard, m.Path)
		}
	})
}

func TestAnImmediateRequestThatComesFirstStopsNothing(t *testing.T) {
	f := newFake()
	s := Shutdown{Log: slog.New(slog.DiscardHandler), Sys: f, StopServices: func(context.Context) error {
		t.Error("services are stopped")
		return nil
	}}
	if err := s.Run(t.Context(), Request{Action: Reboot, Immediate: true}, nil); err != nil {
		t.Fatal(err)
	}
	if len(f.reboots) != 1 || f.syncs != 0 {
		t.Errorf("reboots %v, %d syncs", f.reboots, f.syncs)
	}
}
