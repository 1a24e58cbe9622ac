package logring

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FileName is the newest file of the log on disk. Older ones carry .1, .2, ….
const FileName = "node.log"

// logFile is node.log and its predecessors.
type logFile struct {
	dir   string
	limit int64 // bytes
	keep  int   // number of files

	f    *os.File
	size int64
}

// append writes whole lines, rotating as needed. After an error none of them
// count as written.
func (l *logFile) append(lines []byte, sync bool) error {
	for len(lines) > 0 {
		if l.f == nil {
			if err := l.open(); err != nil {
				return err
			}
		}
		if l.size > 0 && l.size+int64(len(lines)) > l.limit {
			// Fill up the file with the lines that still fit.
			fit := bytes.LastIndexByte(lines[:min(int64(len(lines)), max(l.limit-l.size, 0))], '\n') + 1
			if fit > 0 {
				if err := l.write(lines[:fit]); err != nil {
					return err
				}
				lines = lines[fit:]
			}
			if err := l.rotate(); err != nil {
				return err
			}
			continue
		}
		n := len(lines)
		if int64(n) > l.limit {
			// An empty file takes at least one line, however small the limit.
			n = bytes.LastIndexByte(lines[:l.limit], '\n') + 1
			if n == 0 {
				n = bytes.IndexByte(lines, '\n') + 1
			}
		}
		if err := l.write(lines[:n]); err != nil {
			return err
		}
		lines = lines[n:]
	}
	if sync && l.f != nil {
		if err := l.f.Sync(); err != nil {
			l.drop()
			return fmt.Errorf("write log: %w", err)
		}
	}
	return nil
}

// open opens or creates node.log and ends a line that a power cut left torn.
func (l *logFile) open() error {
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return fmt.Errorf("create log directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(l.dir, FileName), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	size, err := mend(f)
	if err != nil {
		f.Close()
		return fmt.Errorf("mend log after a power cut: %w", err)
	}
	l.f, l.size = f, size
	return nil
}

// mend makes the file end in a whole line and returns its size. ext4 may leave
// zeros where data had been allocated but not written: they go.
func mend(f *os.File) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	end := size
	var last byte
	buf := make([]byte, 4096)
	for end > 0 {
		n := min(end, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return 0, err
		}
		if kept := bytes.TrimRight(buf[:n], "\x00"); len(kept) > 0 {
			last = kept[len(kept)-1]
			end -= n - int64(len(kept))
			break
		}
		end -= n
	}
	if end < size {
		if err := f.Truncate(end); err != nil {
			return 0, err
		}
	}
	if end == 0 || last == '\n' {
		return end, nil
	}
	const torn = " … [torn]\n"
	if _, err := f.WriteAt([]byte(torn), end); err != nil {
		f.Truncate(end)
		return 0, err
	}
	return end + int64(len(torn)), nil
}

func (l *logFile) write(lines []byte) error {
	n, err := l.f.WriteAt(lines, l.size)
	if err != nil {
		// On a full disk a part may be written: take it back, so that the
		// next attempt does not repeat or tear lines.
		if n > 0 {
			err = errors.Join(err, l.f.Truncate(l.size))
		}
		l.drop()
		return fmt.Errorf("write log: %w", err)
	}
	l.size += int64(n)
	return nil
}

// rotate moves each file on by one; the oldest goes.
func (l *logFile) rotate() error {
	if err := l.close(); err != nil {
		return err
	}
	name := filepath.Join(l.dir, FileName)
	numbered := func(i int) string {
		if i == 0 {
			return name
		}
		return fmt.Sprintf("%s.%d", name, i)
	}
	if l.keep == 1 {
		return os.Remove(name)
	}
	for i := l.keep - 2; i >= 0; i-- {
		if err := os.Rename(numbered(i), numbered(i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	return nil
}

// drop closes the file after an error; the next append opens it anew.
func (l *logFile) drop() {
	l.f.Close()
	l.f = nil
}

func (l *logFile) close() error {
	if l.f == nil {
		return nil
	}
	err := errors.Join(l.f.Sync(), l.f.Close())
	l.f = nil
	if err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}
