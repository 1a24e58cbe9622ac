// Package packing tells by how a file begins in what it is packed. What to do
// about it is the caller's to say.
package packing

import "bytes"

// Form is what a file is packed in.
type Form string

// Forms that people pack images in.
const (
	Unknown Form = "" // perhaps not packed at all
	Zstd    Form = "zstd"
	XZ      Form = "xz"
	Gzip    Form = "gzip"
	Bzip2   Form = "bzip2"
	Zip     Form = "zip"
	QCOW2   Form = "qcow2"
)

// HeadBytes is how many bytes of a file Detect needs.
const HeadBytes = 6

var magics = []struct {
	form  Form
	bytes string
}{
	{Zstd, "\x28\xb5\x2f\xfd"}, // RFC 8878, 3.1.1
	{XZ, "\xfd7zXZ\x00"},
	{Gzip, "\x1f\x8b"}, // RFC 1952, 2.3.1
	{Bzip2, "BZh"},
	{Zip, "PK\x03\x04"},
	{QCOW2, "QFI\xfb"},
}

// Detect returns the form of a file that begins with head.
func Detect(head []byte) Form {
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.bytes)) {
			return m.form
		}
	}
	return Unknown
}
