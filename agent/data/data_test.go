package data

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFirstBootMakesData(t *testing.T) {
	const size = 400 * mib
	m := newMachine(t, size)
	var said []string
	o := m.options()
	o.Progress = func(s string) { said = append(said, s) }
	empty := 0
	o.Empty = func() {
		empty++
		if len(said) > 0 {
			t.Errorf("data is known to begin empty only after %q", said)
		}
	}
	r, err := Prepare(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if empty != 1 {
		t.Errorf("said %d times that data begins empty", empty)
	}
	want := Result{Device: "/dev/vda4", Bytes: size - mib - dataStart, Created: true}
	if r != want || m.mounted != "/dev/vda4" || m.grown != 0 {
		t.Errorf("got %+v, mounted %q, grown %d", r, m.mounted, m.grown)
	}
	if len(said) != 2 {
		t.Errorf("progress: %q", said)
	}
	m.fsck(dataStart)
	if out := tool(t, "sgdisk", "-v", m.file); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
	out := tool(t, "dumpe2fs", "-h", fmt.Sprintf("%s?offset=%d", m.file, dataStart))
	for _, want := range []string{"volume name:   skerry-data", "Errors behavior:          Remount read-only", "metadata_csum", "Total journal size:       4096k"} {
		if !strings.Contains(out, want) {
			t.Errorf("dumpe2fs does not say %q:\n%s", want, out)
		}
	}
}

func TestLaterBootsChangeNothing(t *testing.T) {
	m := newMachine(t, 91*mib)
	m.prepare()
	before, err := os.ReadFile(m.file)
	if err != nil {
		t.Fatal(err)
	}
	m.reboot()
	if r := m.prepare(); r.Created || r.Grown || r.Checked || r.Problem != "" || len(m.ran) != 0 || len(m.told) != 0 {
		t.Errorf("second boot: %+v, ran %v, told %v", r, m.ran, m.told)
	}
	after, err := os.ReadFile(m.file)
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("the second boot wrote to the disk")
	}
}

func TestDataGrowsWithTheDisk(t *testing.T) {
	m := newMachine(t, 200*mib)
	m.prepare()
	m.size = 300 * mib
	if err := os.Truncate(m.file, m.size); err != nil {
		t.Fatal(err)
	}
	m.reboot()
	r := m.prepare()
	want := int64(300*mib - mib - dataStart)
	if !r.Grown || r.Created || r.Bytes != want || m.grown != want/blockBytes || len(m.told) != 1 || m.told[0] != "resize 4" {
		t.Errorf("got %+v, file system grown to %d blocks, told %v", r, m.grown, m.told)
	}
	if out := tool(t, "sgdisk", "-v", m.file); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
	m.reboot()
	if m.prepare(); len(m.told) != 0 {
		t.Errorf("grown again: %v", m.told)
	}
}

func TestDataThatIsNotLastDoesNotGrow(t *testing.T) {
	m := newMachine(t, 300*mib)
	tool(t, "sgdisk", "-e", "-n", "4:60M:+100M", "-c", "4:data", "-n", "5:180M:+50M", "-c", "5:mine", m.file)
	m.reboot()
	if r := m.prepare(); r.Grown || !r.Created || r.Bytes != 100*mib {
		t.Errorf("got %+v", r)
	}
}

func TestDiskTooSmallSaysHowMuchIsNeeded(t *testing.T) {
	m := newMachine(t, dataStart+MinBytes)
	_, err := Prepare(t.Context(), m.options())
	if err == nil || !strings.Contains(err.Error(), "63 MiB") || !strings.Contains(err.Error(), "at least 91 MiB") {
		t.Errorf("got %v", err)
	}
	if out := tool(t, "sgdisk", "-p", m.file); strings.Contains(out, "data") {
		t.Error("an entry was added")
	}
	m = newMachine(t, 91*mib)
	if r := m.prepare(); !r.Created || r.Bytes != MinBytes {
		t.Errorf("at the limit: %+v", r)
	}
}

func TestReflashingKeepsData(t *testing.T) {
	m := newMachine(t, 400*mib)
	m.prepare()
	if _, err := m.disk.WriteAt(imageContents(t), 0); err != nil {
		t.Fatal(err)
	}
	m.reboot()
	if r := m.prepare(); r.Created || r.Checked || r.Problem != "" || r.Device != "/dev/vda4" {
		t.Errorf("got %+v", r)
	}
	m.fsck(dataStart)
}

func TestForeignContentsAreKeptUnlessWiped(t *testing.T) {
	for _, existing := range []bool{true, false} {
		m := newMachine(t, 200*mib)
		if existing {
			tool(t, "sgdisk", "-e", "-n", "4:26M:0", "-c", "4:data", m.file)
			m.reboot()
		}
		other := filepath.Join(t.TempDir(), "fs")
		if err := os.WriteFile(other, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(other, 8*mib); err != nil {
			t.Fatal(err)
		}
		tool(t, "mke2fs", "-q", "-F", "-t", "ext4", "-L", "holiday", other)
		b, err := os.ReadFile(other)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.disk.WriteAt(b, dataStart); err != nil {
			t.Fatal(err)
		}
		_, err = Prepare(t.Context(), m.options())
		if err == nil || !strings.Contains(err.Error(), `ext4 labelled "holiday"`) || !strings.Contains(err.Error(), "wipe: true") {
			t.Errorf("existing partition %v: %v", existing, err)
		}
		if len(m.ran) != 0 || len(m.told) != 0 {
			t.Errorf("existing partition %v: ran %v, told %v", existing, m.ran, m.told)
		}
		o := m.options()
		o.Wipe = true
		if r, err := Prepare(t.Context(), o); err != nil || !r.Created {
			t.Errorf("existing partition %v, with wipe: %+v, %v", existing, r, err)
		}
		// wipe stays in the node config; what the node stores must survive that.
		m.reboot()
		if r, err := Prepare(t.Context(), o); err != nil || r.Created {
			t.Errorf("existing partition %v, wipe again: %+v, %v", existing, r, err)
		}
	}
}

func TestUnknownDataIsOnlyTakenWhereNoPartitionWas(t *testing.T) {
	noise := []byte(strings.Repeat("leftovers of a reused card ", 40000))
	m := newMachine(t, 200*mib)
	if _, err := m.disk.WriteAt(noise, dataStart); err != nil {
		t.Fatal(err)
	}
	if r := m.prepare(); !r.Created {
		t.Errorf("unallocated space: %+v", r)
	}
	m = newMachine(t, 200*mib)
	tool(t, "sgdisk", "-e", "-n", "4:26M:0", "-c", "4:data", m.file)
	m.reboot()
	if _, err := m.disk.WriteAt(noise, dataStart); err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(t.Context(), m.options()); err == nil || !strings.Contains(err.Error(), "unknown data") {
		t.Errorf("existing partition: %v", err)
	}
}

func TestSlotsAreNeverData(t *testing.T) {
	m := newMachine(t, 200*mib)
	for _, device := range []string{"/dev/vda1", "/dev/vda2", "/dev/vda3"} {
		o := m.options()
		o.Device, o.Wipe = device, true
		if _, err := Prepare(t.Context(), o); err == nil || len(m.ran) != 0 {
			t.Errorf("%s: error %v, ran %v", device, err, m.ran)
		}
	}
	o := m.options()
	o.Device = "/dev/vda" // the boot disk by name is the same as auto
	if r, err := Prepare(t.Context(), o); err != nil || r.Device != "/dev/vda4" {
		t.Errorf("boot disk: %+v, %v", r, err)
	}
}

func TestNamedDiskIsUsedWhole(t *testing.T) {
	m := newMachine(t, 200*mib)
	o := m.options()
	o.BootDisk.Name, o.Device = "sda", "/dev/vda" // booted from elsewhere
	_, err := Prepare(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "has 3 partitions") {
		t.Errorf("disk with partitions: %v", err)
	}
	o.Wipe = true
	if r, err := Prepare(t.Context(), o); err != nil || !r.Created || r.Device != "/dev/vda" || len(m.parts) != 0 {
		t.Errorf("with wipe: %+v, %v", r, err)
	}
	m.fsck(0)
	o.Wipe = false
	if r, err := Prepare(t.Context(), o); err != nil || r.Created {
		t.Errorf("again: %+v, %v", r, err)
	}
}

func TestMissingDiskIsNamed(t *testing.T) {
	m := newMachine(t, 200*mib)
	o := m.options()
	o.Device = "/dev/sdz"
	if _, err := Prepare(t.Context(), o); err == nil || !strings.Contains(err.Error(), "/dev/sdz did not appear") {
		t.Errorf("got %v", err)
	}
}

func TestFullDataIsAProblem(t *testing.T) {
	if text := (Room{Free: 10 * mib, Total: 1000 * mib}).Problem(); !strings.Contains(text, "data is full: 10 MiB of 1000 MiB") {
		t.Errorf("got %q", text)
	}
	for _, room := range []Room{{Free: 20 * mib, Total: 1000 * mib}, {}} {
		if text := room.Problem(); text != "" {
			t.Errorf("%+v: %q", room, text)
		}
	}
	room, err := MeasureRoom(t.TempDir())
	if err != nil || room.Total <= 0 || room.Free > room.Total {
		t.Errorf("got %+v, %v", room, err)
	}
}

func TestFileSystemThatCannotBeMountedIsRepairedOnce(t *testing.T) {
	m := newMachine(t, 200*mib)
	m.prepare()
	m.reboot()
	m.mounts = []error{unix.EUCLEAN}
	if r := m.prepare(); !r.Checked || r.Problem == "" || m.mounted == "" {
		t.Errorf("got %+v", r)
	}
	m.reboot()
	m.mounts = []error{unix.EUCLEAN, unix.EUCLEAN}
	if _, err := Prepare(t.Context(), m.options()); err == nil {
		t.Error("mounted?")
	}
	m.reboot()
	m.mounts = []error{unix.ENODEV}
	if _, err := Prepare(t.Context(), m.options()); err == nil || len(m.ran) != 0 {
		t.Errorf("a kernel without ext4 is no reason to repair: %v, ran %v", err, m.ran)
	}
}

func TestMBRDiskGetsAFourthPartition(t *testing.T) {
	m := newMachine(t, 200*mib)
	if _, err := m.disk.WriteAt(make([]byte, imageBytes), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := m.disk.WriteAt(newMBR(), 0); err != nil {
		t.Fatal(err)
	}
	m.reboot()
	r := m.prepare()
	if !r.Created || r.Device != "/dev/vda4" || r.Bytes != (200-25)*mib {
		t.Errorf("got %+v", r)
	}
	after := make([]byte, 512)
	if _, err := m.disk.ReadAt(after, 0); err != nil {
		t.Fatal(err)
	}
	if before := newMBR(); !bytes.Equal(before[:446+48], after[:446+48]) || !bytes.Equal(before[510:], after[510:]) {
		t.Error("more than the fourth entry changed")
	}
	m.fsck(25 * mib)
	if out := tool(t, "sgdisk", "-p", m.file); !strings.Contains(out, "4           51200          409599") {
		t.Error(out)
	}
	m.reboot()
	if r := m.prepare(); r.Created || r.Grown {
		t.Errorf("second boot: %+v", r)
	}
	m.size = 300 * mib
	if err := os.Truncate(m.file, m.size); err != nil {
		t.Fatal(err)
	}
	m.reboot()
	if r := m.prepare(); !r.Grown || r.Bytes != (300-25)*mib {
		t.Errorf("larger disk: %+v", r)
	}
}

// newMBR is a sector with boot code and three partitions of 8 MiB from 1 MiB on.
func newMBR() []byte {
	b := bytes.Repeat([]byte{0x90}, 512)
	clear(b[446:])
	for i := range 3 {
		e := b[446+16*i:]
		e[4] = 0x83
		binary.LittleEndian.PutUint32(e[8:], uint32(2048+16384*i))
		binary.LittleEndian.PutUint32(e[12:], 16384)
	}
	b[446], b[450] = 0x80, 0x0c
	b[510], b[511] = 0x55, 0xaa
	return b
}
