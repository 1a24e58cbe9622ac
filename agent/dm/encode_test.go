package dm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The C compiler knows the kernel's header; our numbers must be its.
const oracle = `
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <linux/dm-ioctl.h>
#define O(f) printf(#f " %zu\n", offsetof(struct dm_ioctl, f))
#define S(f) printf("spec." #f " %zu\n", offsetof(struct dm_target_spec, f))
#define C(c) printf(#c " %lu\n", (unsigned long)c)
int main(void) {
	printf("header %zu\n", sizeof(struct dm_ioctl));
	O(data_size); O(data_start); O(target_count); O(open_count); O(flags); O(dev); O(name); O(uuid);
	C(DM_NAME_LEN); C(DM_UUID_LEN);
	printf("spec %zu\n", sizeof(struct dm_target_spec));
	S(length); S(next); S(target_type);
	C(DM_MAX_TYPE_NAME);
	C(DM_VERSION); C(DM_DEV_CREATE); C(DM_DEV_REMOVE); C(DM_DEV_SUSPEND); C(DM_DEV_STATUS); C(DM_TABLE_LOAD); C(DM_TABLE_STATUS);
	C(DM_READONLY_FLAG); C(DM_SUSPEND_FLAG); C(DM_ACTIVE_PRESENT_FLAG); C(DM_BUFFER_FULL_FLAG); C(DM_DEFERRED_REMOVE);
	return 0;
}
`

func TestLayoutIsTheKernelHeaders(t *testing.T) {
	dir := t.TempDir()
	source, program := filepath.Join(dir, "oracle.c"), filepath.Join(dir, "oracle")
	if err := os.WriteFile(source, []byte(oracle), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc with the kernel headers (packages gcc, linux-libc-dev) is needed: %v\n%s", err, out)
	}
	want, err := exec.Command(program).Output()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, v := range []struct {
		name  string
		value uint64
	}{
		{"header", headerBytes}, {"data_size", atDataSize}, {"data_start", atDataStart}, {"target_count", atTargets},
		{"open_count", atOpenCount}, {"flags", atFlags}, {"dev", atDev}, {"name", atName}, {"uuid", atUUID},
		{"DM_NAME_LEN", nameBytes}, {"DM_UUID_LEN", uuidBytes},
		{"spec", specBytes}, {"spec.length", atLength}, {"spec.next", atNext}, {"spec.target_type", atType},
		{"DM_MAX_TYPE_NAME", typeBytes},
		{"DM_VERSION", cmdVersion}, {"DM_DEV_CREATE", cmdCreate}, {"DM_DEV_REMOVE", cmdRemove}, {"DM_DEV_SUSPEND", cmdSuspend},
		{"DM_DEV_STATUS", cmdStatus}, {"DM_TABLE_LOAD", cmdTableLoad}, {"DM_TABLE_STATUS", cmdTableStatus},
		{"DM_READONLY_FLAG", flagReadOnly}, {"DM_SUSPEND_FLAG", flagSuspend}, {"DM_ACTIVE_PRESENT_FLAG", flagActivePresent},
		{"DM_BUFFER_FULL_FLAG", flagBufferFull}, {"DM_DEFERRED_REMOVE", flagDeferredRemove},
	} {
		fmt.Fprintf(&got, "%s %d\n", v.name, v.value)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("-header +ours\n%s", d)
	}
}

func TestTargetsAreAlignedAndEndInZero(t *testing.T) {
	for length := range 20 {
		table := []Target{{0, 8, "linear", strings.Repeat("x", length)}, {8, 16, "verity", "1"}}
		b, err := encodeTargets(table)
		if err != nil {
			t.Fatal(err)
		}
		next := int(order.Uint32(b[atNext:]))
		if next%8 != 0 || next <= specBytes+length || b[specBytes+length] != 0 || text(b[next+atType:][:typeBytes]) != "verity" {
			t.Errorf("parameters of %d bytes: next target at %d", length, next)
		}
	}
	if _, err := encodeTargets([]Target{{Type: "a-type-of-17-bytes"}}); err == nil {
		t.Error("a type too long for its field was accepted")
	}
}

func TestNamesTooLongAreRefused(t *testing.T) {
	for length, ok := range map[int]bool{127: true, 128: false} {
		if _, err := (&header{name: strings.Repeat("n", length)}).encode(nil); (err == nil) != ok {
			t.Errorf("name of %d bytes: %v", length, err)
		}
	}
}

func FuzzDecodeTargets(f *testing.F) {
	good, _ := (&header{targets: 1}).encode(make([]byte, 64))
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerBytes {
			return
		}
		decodeTargets(b)
		decodeDevice(b)
	})
}
