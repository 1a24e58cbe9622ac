// Package strictyaml reads YAML that people write into Go structs, and tells
// them what is wrong with it: an unknown key, a duplicate one, a wrong type or
// a missing value is an error that names file, line and column, what was found
// and what would be right. All problems of a file are told at once.
//
// The YAML it reads is the part that means the same to every program: one
// document of mappings, lists and plain values. Anchors, aliases, merge keys
// and tags are refused, and so are spellings that YAML 1.1 and 1.2 read
// differently. Size, depth and the number of values are bounded, so that a
// hostile file costs little.
//
// It is linked into PID 1. What values mean together is left to the caller,
// who reports with Document.Errorf and gets positions for nothing.
package strictyaml

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
)

const (
	// MaxSize is the size in bytes of the largest file that is read.
	MaxSize = 1 << 20
	// MaxDepth is how deep mappings and lists may be nested.
	MaxDepth = 64
	// maxElements bounds how many list entries, keys and brackets a file may
	// have. The parser spends some 300 bytes on each of them.
	maxElements = 50_000
	// maxProblems is how many problems of one file are told.
	maxProblems = 20
)

var byteOrderMark = []byte("\xef\xbb\xbf")

// Read returns all of r, which is called name in errors, and fails when it
// has more than MaxSize bytes, without reading on.
func Read(name string, r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > MaxSize {
		return nil, tooLarge(name)
	}
	return data, nil
}

func tooLarge(name string) *Error {
	return &Error{Problems: []Problem{{
		File: name, Line: 1, Column: 1,
		Text: fmt.Sprintf("the file is larger than %d KiB: is it the right file?", MaxSize>>10),
	}}}
}

// Decode reads the YAML document data, which is called name in errors, into
// the struct that into points to. Keys are the names in the fields' `yaml:"…"`
// tags. Further tags are
//
//	required:"true"   the key must be there
//	secret:"true"     neither the value nor anything in it is ever part of an error
//
// Fields may be structs, embedded structs (their keys are the outer struct's),
// pointers, slices, maps with string keys, strings, booleans, integers, any,
// and everything that implements encoding.TextUnmarshaler, which is given
// text. Values not in the document stay as they are: an empty document changes
// nothing. A byte order mark at the beginning and CRLF line ends, as editors
// on Windows write them, are accepted.
//
// The error, if any, is an *Error with the problems found, sorted by
// position. The document is returned with it, unless it cannot be parsed at
// all, so that the caller can check the values that could be read and report
// everything at once by Document.Errorf and Document.Err.
func Decode(name string, data []byte, into any) (*Document, error) {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("read %s: into %T: a pointer to a struct is needed", name, into)
	}
	if len(data) > MaxSize {
		return nil, tooLarge(name)
	}
	data = bytes.TrimPrefix(data, byteOrderMark)
	doc := &Document{name: name}
	if scan(doc, data); doc.Err() != nil {
		return nil, doc.Err()
	}
	root, problem := parse(name, data)
	if problem != nil {
		return nil, &Error{Problems: []Problem{*problem}}
	}
	if root == nil {
		return doc, nil
	}
	doc.root = root
	check(doc, root, "", 1)
	d := decoder{doc: doc}
	d.value(root, v.Elem(), "", false)
	if d.unsupported != nil {
		return nil, d.unsupported
	}
	return doc, doc.Err()
}
