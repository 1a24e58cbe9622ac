package standalone

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestAListThatChangesIsReadAgain(t *testing.T) {
	tries := 0
	got, err := consistent(func() ([]int, error) {
		if tries++; tries < 3 {
			return []int{1}, fmt.Errorf("list: %w", netlink.ErrDumpInterrupted)
		}
		return []int{1, 2}, nil
	})
	if err != nil || !slices.Equal(got, []int{1, 2}) {
		t.Errorf("got %v, %v", got, err)
	}
	refused := errors.New("refused")
	tries = 0
	if _, err := consistent(func() ([]int, error) { tries++; return nil, refused }); !errors.Is(err, refused) || tries != 1 {
		t.Errorf("got %v after %d tries", err, tries)
	}
}
