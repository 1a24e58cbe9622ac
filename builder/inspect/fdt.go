package inspect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Of a flattened device tree (Devicetree Specification 0.4, section 5).
const (
	fdtMagic     = 0xd00dfeed
	fdtHeader    = 40
	fdtBeginNode = 1
	fdtEndNode   = 2
	fdtProperty  = 3
	fdtNop       = 4
	fdtEnd       = 9

	maxFDT   = 4 << 20
	maxDepth = 64
)

// fdt is the properties of a device tree, by the paths of node and property.
type fdt map[string][]byte

// readFDT reads a device tree at the start of r and returns it with its length.
func readFDT(r io.ReaderAt) (fdt, int64, error) {
	head := make([]byte, fdtHeader)
	if _, err := r.ReadAt(head, 0); err != nil {
		return nil, 0, err
	}
	be := binary.BigEndian
	if be.Uint32(head) != fdtMagic {
		return nil, 0, errors.New("it does not begin with D0 0D FE ED")
	}
	total := be.Uint32(head[4:])
	if total < fdtHeader || total > maxFDT {
		return nil, 0, fmt.Errorf("it says that it has %d bytes", total)
	}
	b := make([]byte, total)
	if n, err := r.ReadAt(b, 0); n < len(b) {
		return nil, 0, fmt.Errorf("it says that it has %d bytes: %w", total, err)
	}
	structure, strs := be.Uint32(head[8:]), be.Uint32(head[12:])
	if structure > total || strs > total {
		return nil, 0, errors.New("its parts are beyond its end")
	}
	tree, err := parseFDT(b[structure:], b[strs:])
	return tree, int64(total), err
}

var errShortFDT = errors.New("it ends in the middle of a node")

func parseFDT(b, strs []byte) (fdt, error) {
	tree := fdt{}
	var nodes []string
	next := func(n uint32) ([]byte, error) {
		padded := (uint64(n) + 3) &^ 3
		if padded > uint64(len(b)) {
			return nil, errShortFDT
		}
		part := b[:n]
		b = b[padded:]
		return part, nil
	}
	for {
		token, err := next(4)
		if err != nil {
			return nil, err
		}
		switch binary.BigEndian.Uint32(token) {
		case fdtNop:
		case fdtEnd:
			return tree, nil
		case fdtBeginNode:
			n := bytes.IndexByte(b, 0)
			if n < 0 || len(nodes) >= maxDepth {
				return nil, errShortFDT
			}
			name, err := next(uint32(n + 1))
			if err != nil {
				return nil, err
			}
			nodes = append(nodes, string(name[:n]))
		case fdtEndNode:
			if len(nodes) == 0 {
				return nil, errors.New("it ends a node that did not begin")
			}
			nodes = nodes[:len(nodes)-1]
		case fdtProperty:
			head, err := next(8)
			if err != nil {
				return nil, err
			}
			size, at := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
			value, err := next(size)
			if err != nil {
				return nil, err
			}
			if uint64(at) >= uint64(len(strs)) {
				return nil, errors.New("a property's name is beyond its end")
			}
			name, _, _ := bytes.Cut(strs[at:], []byte{0})
			tree[strings.Join(append(nodes, string(name)), "/")] = value
		default:
			return nil, fmt.Errorf("there is a token %x that device trees do not have", token)
		}
	}
}

// number returns a property of one cell.
func (t fdt) number(path string) (int64, bool) {
	b, ok := t[path]
	if !ok || len(b) != 4 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint32(b)), true
}

// fitEnd returns where a FIT image ends: a device tree whose images may lie
// behind it (U-Boot, doc/usage/fit/source_file_format.rst, "External data").
func (t fdt) fitEnd(size int64) int64 {
	end := size
	behind := (size + 3) &^ 3
	for path := range t {
		image, ok := strings.CutSuffix(path, "/data-size")
		if !ok || !strings.HasPrefix(path, "/images/") {
			continue
		}
		length, _ := t.number(path)
		if at, ok := t.number(image + "/data-offset"); ok {
			end = max(end, behind+at+length)
		}
		if at, ok := t.number(image + "/data-position"); ok {
			end = max(end, at+length)
		}
	}
	return end
}
