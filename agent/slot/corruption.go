package slot

import (
	"fmt"
	"strconv"
	"strings"
)

// Corruption is a block dm-verity refused to give out.
type Corruption struct {
	Device string // major:minor, as in [Opened]
	Kind   string // "data" or "metadata", which is the hash tree
	Block  int64  // of 4096 bytes, from the start of the device
}

// ParseCorruption reads the kernel's message about a corrupt block, with or
// without the prefix of a /dev/kmsg record:
//
//	device-mapper: verity: 253:0: data block 12345 is corrupted
//
// The kernel says it for the first hundred errors only (drivers/md/dm-verity-target.c).
func ParseCorruption(line string) (Corruption, bool) {
	_, text, ok := strings.Cut(line, "device-mapper: verity: ")
	if !ok {
		return Corruption{}, false
	}
	device, text, _ := strings.Cut(text, ": ")
	kind, text, _ := strings.Cut(text, " block ")
	number, rest, _ := strings.Cut(text, " ")
	block, err := strconv.ParseInt(number, 10, 64)
	if err != nil || block < 0 || kind != "data" && kind != "metadata" || !strings.HasPrefix(rest, "is corrupted") || !majorMinor(device) {
		return Corruption{}, false
	}
	return Corruption{Device: device, Kind: kind, Block: block}, true
}

func majorMinor(s string) bool {
	major, minor, ok := strings.Cut(s, ":")
	_, err1 := strconv.ParseUint(major, 10, 32)
	_, err2 := strconv.ParseUint(minor, 10, 32)
	return ok && err1 == nil && err2 == nil
}

// Problem says in a sentence what is wrong with the slot that runs.
func (c Corruption) Problem(l Letter) string {
	where := "the root"
	if c.Kind == "metadata" {
		where = "the hash tree"
	}
	return fmt.Sprintf("slot %s: block %d of %s is corrupt: read refused; install a release to replace the slot, and check the disk", l, c.Block, where)
}
