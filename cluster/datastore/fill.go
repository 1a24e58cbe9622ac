package datastore

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	etcd "go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"
)

// fillLimit is for a database that does not answer: some hundred records take a
// slow memory card some ten seconds.
const fillLimit = 2 * time.Minute

// Fill gives a database that has nothing under a prefix what records returns:
// values by their keys. What is there already stays as it is. Keys under the
// prefix come last, so that filling goes on where it was interrupted. The
// database is asked at an endpoint as the API server has it: etcd's protocol on
// a Unix socket.
func Fill(ctx context.Context, endpoint, prefix string, records func() (map[string][]byte, error)) error {
	ctx, cancel := context.WithTimeout(ctx, fillLimit)
	defer cancel()
	client, err := etcd.New(clientv3.Config{Endpoints: []string{endpoint}, Context: ctx, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close()
	found, err := client.Kubernetes.List(ctx, prefix, etcd.ListOptions{Limit: 1})
	if err != nil {
		return fmt.Errorf("list %s: %w", prefix, err)
	}
	if len(found.Kvs) > 0 {
		return nil
	}
	values, err := records()
	if err != nil {
		return err
	}
	last := func(key string) int {
		if strings.HasPrefix(key, prefix) {
			return 1
		}
		return 0
	}
	keys := slices.SortedFunc(maps.Keys(values), func(a, b string) int {
		return cmp.Or(cmp.Compare(last(a), last(b)), cmp.Compare(a, b))
	})
	for _, key := range keys {
		if _, err := client.Kubernetes.OptimisticPut(ctx, key, values[key], 0, etcd.PutOptions{}); err != nil {
			return fmt.Errorf("make %s: %w", key, err)
		}
	}
	return nil
}
