package packing

import "testing"

func TestFormsAreKnownByTheirBeginnings(t *testing.T) {
	for head, want := range map[string]Form{
		"\x28\xb5\x2f\xfdrest": Zstd, "\xfd7zXZ\x00rest": XZ, "\x1f\x8b\x08": Gzip, "BZh9": Bzip2, "PK\x03\x04": Zip, "QFI\xfb": QCOW2,
		"": Unknown, "\x28\xb5\x2f": Unknown, "\xfd7zXZ": Unknown, "EFI PART": Unknown,
	} {
		if got := Detect([]byte(head)); got != want {
			t.Errorf("%q is %q", head, got)
		}
	}
	for _, m := range magics {
		if len(m.bytes) > HeadBytes {
			t.Errorf("%s needs %d bytes", m.form, len(m.bytes))
		}
	}
}
