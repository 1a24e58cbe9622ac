package debian

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxMembers bounds the members of a .deb. There are three; deb(5) lets
// others stand between them.
const maxMembers = 64

// dataMember finds the archive of files in a .deb: an ar archive that begins
// with debian-binary and has a member data.tar or data.tar.SUFFIX (deb(5)).
func dataMember(r io.ReaderAt, size int64) (suffix string, data *io.SectionReader, err error) {
	magic := make([]byte, 8)
	if _, err := r.ReadAt(magic, 0); err != nil || string(magic) != "!<arch>\n" {
		return "", nil, errors.New("it is no .deb: it does not begin as an ar archive")
	}
	offset := int64(len(magic))
	for n := range maxMembers {
		name, length, err := memberHeader(r, offset)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", nil, err
		}
		offset += 60
		if length > size-offset {
			return "", nil, fmt.Errorf("it is cut off: member %q has %d bytes, %d are there", name, length, size-offset)
		}
		if n == 0 {
			version := make([]byte, min(length, 4))
			if _, err := r.ReadAt(version, offset); err != nil && err != io.EOF {
				return "", nil, err
			}
			if name != "debian-binary" || !strings.HasPrefix(string(version), "2.") {
				return "", nil, errors.New("it is no .deb of format 2")
			}
		}
		if suffix, ok := strings.CutPrefix(name, "data.tar"); ok {
			return suffix, io.NewSectionReader(r, offset, length), nil
		}
		offset += length + length%2
	}
	return "", nil, errors.New("it has no member data.tar")
}

// memberHeader reads the 60 bytes before a member: name (16), time (12),
// owner (6), group (6), mode (8), size (10), end (2), padded with spaces.
func memberHeader(r io.ReaderAt, offset int64) (name string, size int64, err error) {
	header := make([]byte, 60)
	n, err := r.ReadAt(header, offset)
	if n == 0 && err == io.EOF {
		return "", 0, io.EOF
	}
	if n < len(header) {
		return "", 0, errors.New("it is cut off in a member's header")
	}
	if string(header[58:]) != "`\n" {
		return "", 0, errors.New("a member's header is damaged")
	}
	size, err = strconv.ParseInt(strings.TrimRight(string(header[48:58]), " "), 10, 64)
	if err != nil || size < 0 {
		return "", 0, errors.New("a member's size is damaged")
	}
	return strings.TrimSuffix(strings.TrimRight(string(header[:16]), " "), "/"), size, nil
}
