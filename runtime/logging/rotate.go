package logging

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"pier/api/shim"
)

// room returns the size of the live file and how many encoded bytes may be appended before it must be rotated. A full
// file is rotated here, while no intent exists. mu is held.
func (f *File) room() (size int64, limit int, err error) {
	info, err := f.file.Stat() // not from memory: people empty logs by hand
	if err != nil {
		return 0, 0, err
	}
	size = info.Size()
	if f.spec.MaxSize <= 0 {
		return size, MaxPortion, nil
	}
	if size >= f.spec.MaxSize {
		if err := f.rotate(); err != nil {
			return 0, 0, err
		}
		size = 0
	}
	return size, int(min(f.spec.MaxSize-size, MaxPortion)), nil
}

// name returns the path of the file that was rotated i times.
func (f *File) name(i int) string {
	if i == 0 {
		return f.spec.Path
	}
	return fmt.Sprintf("%s.%d", f.spec.Path, i)
}

// rotate moves Path to Path.1, that to Path.2 and so on, and begins a new file. With one file only it is emptied. A crash
// at any point loses nothing: the next try finds the gap in the row and closes it. mu is held.
func (f *File) rotate() error {
	if f.spec.MaxFiles <= 1 {
		return f.file.Truncate(0)
	}
	gap := 1
	for ; gap < f.spec.MaxFiles-1; gap++ {
		if !exists(f.name(gap)) && !exists(f.name(gap)+shim.PackedSuffix) {
			break
		}
	}
	for i := gap; i > 0; i-- { // the first rename in a full row replaces the oldest file
		if err := f.shift(i); err != nil {
			return err
		}
	}
	old := f.file
	if err := f.open(); err != nil {
		f.file = old
		return err
	}
	f.pack()
	return old.Close()
}

// shift gives the file of number i-1 the number i, compressed or not, in place of the one that has it.
func (f *File) shift(i int) error {
	from, to := f.name(i-1), f.name(i)
	// Both forms are there where a crash came before the plain one was removed. Moved one by one they could end up under
	// two numbers, and every line be there twice.
	if i > 1 && exists(from+shim.PackedSuffix) {
		if err := remove(from); err != nil {
			return err
		}
	}
	if i == 1 { // the live file is never compressed
		if err := remove(to + shim.PackedSuffix); err != nil {
			return err
		}
	} else if err := move(from+shim.PackedSuffix, to+shim.PackedSuffix); err != nil {
		return err
	}
	return move(from, to)
}

// move renames a file. Where there is none, there is none of the new name afterwards.
func move(from, to string) error {
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		return remove(to)
	}
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
