package datastore

import (
	"context"
	"errors"
	"testing"

	"github.com/k3s-io/kine/pkg/server"
)

// forgetful is a backend that acknowledges and does not write. Others write
// meanwhile.
type forgetful struct {
	server.Backend
	there *server.KeyValue
}

func (f forgetful) Create(context.Context, string, []byte, int64) (int64, error) { return 7, nil }
func (f forgetful) Get(context.Context, string, int64, bool) (int64, *server.KeyValue, error) {
	return 7, f.there, nil
}
func (f forgetful) Update(context.Context, string, []byte, int64, int64) (int64, *server.KeyValue, bool, error) {
	return 7, f.there, false, nil
}
func (f forgetful) Delete(context.Context, string, int64) (int64, *server.KeyValue, bool, error) {
	return 7, f.there, false, nil
}

func TestOnlyWhatWasWrittenIsAcknowledged(t *testing.T) {
	for _, test := range []struct {
		name    string
		there   *server.KeyValue
		create  bool
		changed bool // by somebody else: the API server has to know what it is now
	}{
		{"nothing is there", nil, false, true},
		{"another write", &server.KeyValue{ModRevision: 6}, false, true},
		{"this write", &server.KeyValue{ModRevision: 7}, true, true},
		{"the old value", &server.KeyValue{ModRevision: 5}, false, false},
	} {
		v := verified{forgetful{there: test.there}}
		if _, err := v.Create(t.Context(), "k", nil, 0); errors.Is(err, errNotWritten) == test.create {
			t.Errorf("%s: created: %v", test.name, err)
		}
		if _, _, _, err := v.Update(t.Context(), "k", nil, 5, 0); errors.Is(err, errNotWritten) == test.changed {
			t.Errorf("%s: updated: %v", test.name, err)
		}
		if _, _, _, err := v.Delete(t.Context(), "k", 5); errors.Is(err, errNotWritten) == test.changed {
			t.Errorf("%s: deleted: %v", test.name, err)
		}
	}
}
