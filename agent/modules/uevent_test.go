package modules

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

const partitionEvent = "add@/devices/pci0000:00/0000:00:04.0/virtio1/block/vda/vda2\x00ACTION=add\x00" +
	"DEVPATH=/devices/pci0000:00/0000:00:04.0/virtio1/block/vda/vda2\x00SUBSYSTEM=block\x00MAJOR=254\x00MINOR=2\x00" +
	"DEVNAME=vda2\x00DEVTYPE=partition\x00DISKSEQ=9\x00PARTN=2\x00PARTNAME=slot-a\x00SEQNUM=1234\x00"

func TestParseUevent(t *testing.T) {
	got, err := ParseUevent([]byte(partitionEvent))
	if err != nil {
		t.Fatal(err)
	}
	want := Event{
		Action: Add, Devpath: "/devices/pci0000:00/0000:00:04.0/virtio1/block/vda/vda2", Subsystem: "block", Devtype: "partition",
		Devname: "vda2", Partname: "slot-a", Partn: 2, Major: 254, Minor: 2, Seqnum: 1234,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Event{})); diff != "" {
		t.Error(diff)
	}
	if got.Get("DISKSEQ") != "9" || got.Get("SEQ") != "" {
		t.Errorf("variables are %q and %q", got.Get("DISKSEQ"), got.Get("SEQ"))
	}

	got, err = ParseUevent([]byte("add@/devices/x\x00MODALIAS=of:NaT(null)Ca=b\x00DRIVER=d\x00"))
	if err != nil || got.Modalias != "of:NaT(null)Ca=b" || got.Driver != "d" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseUeventRefusesWhatTheKernelDoesNotSay(t *testing.T) {
	for _, message := range []string{
		"", "add@/devices/x", "add\x00", "@/devices/x\x00", "add@devices\x00",
		"libudev\x00\xfe\xed\xca\xfe", "add@/devices/x\x00MAJOR=x\x00", "add@/devices/x\x00SEQNUM=-1\x00",
		"add@/devices/x\x00A=" + strings.Repeat("x", MaxUevent),
	} {
		if event, err := ParseUevent([]byte(message)); err == nil {
			t.Errorf("%.40q: no error, got %+v", message, event)
		}
	}
}

func FuzzParseUevent(f *testing.F) {
	f.Add([]byte(partitionEvent))
	f.Add([]byte("libudev\x00\xfe\xed\xca\xfe"))
	f.Fuzz(func(t *testing.T, message []byte) {
		event, err := ParseUevent(message)
		if err == nil && event.Action == "" && !strings.Contains(event.variables, "ACTION=\x00") && !strings.HasSuffix(event.variables, "ACTION=") {
			t.Errorf("%q: an event without action", message)
		}
	})
}

func TestListenerEndsWithItsContext(t *testing.T) {
	l, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		for err == nil {
			_, err = l.Receive(ctx) // events of this machine may come
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		cancel()
		err = nil
	}
}

// TestListenerHearsTheKernelOnly sends an event as any program may try to. To
// hear it would let a program have modules loaded.
func TestListenerHearsTheKernelOnly(t *testing.T) {
	l, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var to unix.SockaddrNetlink
	err = l.raw.Control(func(fd uintptr) {
		name, err := unix.Getsockname(int(fd))
		if err != nil {
			t.Fatal(err)
		}
		to.Family, to.Pid = unix.AF_NETLINK, name.(*unix.SockaddrNetlink).Pid
	})
	if err != nil {
		t.Fatal(err)
	}
	forger, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(forger)
	err = unix.Sendto(forger, []byte("add@/forged\x00ACTION=add\x00MODALIAS=evil\x00"), 0, &to)
	if err != nil && !errors.Is(err, unix.EPERM) { // only root may try
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	for {
		event, err := l.Receive(ctx)
		if err != nil {
			break
		}
		if event.Devpath == "/forged" {
			t.Fatal("the event of a program was taken for one of the kernel")
		}
	}
}
