package datastore

import (
	"context"
	"errors"

	"github.com/k3s-io/kine/pkg/server"
)

// errNotWritten is what the API server is told of a write that failed. The
// datastore's own log has the reason.
var errNotWritten = errors.New("the datastore could not be written: is its disk full, or broken?")

// verified is a kine backend that does not acknowledge what was not written.
//
// kine v0.17.5 looks after a failed insert what the key is now. Of a key that
// there is not it then tells that it was created, with the revision of somebody
// else's write: on a full disk every object that was made was acknowledged and
// lost. Of other keys it tells that somebody else was faster, and the API server
// tries again until the request times out.
type verified struct{ server.Backend }

// Create reads a new key back: nothing else tells a lost one from a written
// one.
func (v verified) Create(ctx context.Context, key string, value []byte, lease int64) (int64, error) {
	revision, err := v.Backend.Create(ctx, key, value, lease)
	if err != nil {
		return revision, err
	}
	_, written, err := v.Backend.Get(ctx, key, revision, true)
	if err != nil {
		return 0, err
	}
	if written == nil || written.ModRevision != revision {
		return 0, errNotWritten
	}
	return revision, nil
}

// Update fails if nobody else has changed the key.
func (v verified) Update(ctx context.Context, key string, value []byte, expected, lease int64) (int64, *server.KeyValue, bool, error) {
	revision, now, updated, err := v.Backend.Update(ctx, key, value, expected, lease)
	if err == nil && !updated && now != nil && now.ModRevision == expected {
		return 0, nil, false, errNotWritten
	}
	return revision, now, updated, err
}

// Delete fails if nobody else has changed the key.
func (v verified) Delete(ctx context.Context, key string, expected int64) (int64, *server.KeyValue, bool, error) {
	revision, now, deleted, err := v.Backend.Delete(ctx, key, expected)
	if err == nil && !deleted && now != nil && (expected == 0 || now.ModRevision == expected) {
		return 0, nil, false, errNotWritten
	}
	return revision, now, deleted, err
}
