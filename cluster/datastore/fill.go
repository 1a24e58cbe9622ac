package datastore

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	etcd "go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"
)

// Fill gives a database that has nothing under a prefix what records returns:
// values by their keys. What is there already stays as it is. The database is
// asked at an endpoint as the API server has it: etcd's protocol on a Unix
// socket.
func Fill(ctx context.Context, endpoint, prefix string, records func() (map[string][]byte, error)) error {
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
	for key, value := range values {
		if _, err := client.Kubernetes.OptimisticPut(ctx, key, value, 0, etcd.PutOptions{}); err != nil {
			return fmt.Errorf("make %s: %w", key, err)
		}
	}
	return nil
}
