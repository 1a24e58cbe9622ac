package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// object is one of Kubernetes' in its form of JSON.
type object = map[string]any

// standIn is the name of a Node without a kubelet: this program says of it what
// a kubelet would, so that the scheduler gives it Pods.
const standIn = "stand-in"

const (
	nodePath  = "/api/v1/nodes/" + standIn
	podsPath  = "/api/v1/namespaces/default/pods"
	leasePath = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
	// heartbeat is a kubelet's.
	heartbeat = 10 * time.Second
)

// register says that the Node is there and Ready.
func (c *client) register(ctx context.Context) error {
	node := object{"apiVersion": "v1", "kind": "Node", "metadata": object{"name": standIn}}
	if err := c.create(ctx, "/api/v1/nodes", node); err != nil {
		return err
	}
	now := time.Now().UTC().Format(time.RFC3339)
	capacity := object{"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "32Gi"}
	return c.patch(ctx, nodePath+"/status", object{"status": object{
		"capacity": capacity, "allocatable": capacity,
		"conditions": []object{{
			"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "a stand-in", "lastHeartbeatTime": now, "lastTransitionTime": now,
		}},
	}})
}

// beat renews the Node's lease until ctx ends, as a kubelet does. A heartbeat
// that fails is followed by the next one.
func (c *client) beat(ctx context.Context) {
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		spec := object{"spec": object{
			"holderIdentity": standIn, "leaseDurationSeconds": 40, "renewTime": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z07:00"),
		}}
		if err := c.patch(ctx, leasePath+"/"+standIn, spec); err != nil {
			spec["apiVersion"], spec["kind"], spec["metadata"] = "coordination.k8s.io/v1", "Lease", object{"name": standIn}
			_ = c.create(ctx, leasePath, spec)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// podImage is on every image of a node with the cluster. Where there is no
// kubelet nobody wants it.
const podImage = "skerry.dev/pause:v1"

// createPod makes a Pod of one container in namespace default.
func (c *client) createPod(ctx context.Context, name string) error {
	return c.create(ctx, podsPath, object{
		"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": name},
		"spec": object{"containers": []object{{"name": "pause", "image": podImage, "imagePullPolicy": "Never"}}},
	})
}

// deletePod removes a Pod at once: nobody would tell that it ended.
func (c *client) deletePod(ctx context.Context, name string) error {
	return c.request(ctx, http.MethodDelete, podsPath+"/"+name+"?gracePeriodSeconds=0", "", nil, nil)
}

// bound tells, with an error, whether a Pod is not yet on a Node.
func (c *client) bound(ctx context.Context, name, node string) error {
	var pod struct {
		Spec struct {
			NodeName string `json:"nodeName"`
		} `json:"spec"`
	}
	if err := c.get(ctx, podsPath+"/"+name, &pod); err != nil {
		return err
	}
	if pod.Spec.NodeName != node {
		return fmt.Errorf("the Pod %s is on Node %q", name, pod.Spec.NodeName)
	}
	return nil
}

// podRuns tells, with an error, whether no kubelet has said yet that a Pod runs.
func (c *client) podRuns(ctx context.Context, name string) error {
	var pod struct {
		Status json.RawMessage `json:"status"`
	}
	if err := c.get(ctx, podsPath+"/"+name, &pod); err != nil {
		return err
	}
	var status struct {
		Phase string `json:"phase"`
	}
	if err := json.Unmarshal(pod.Status, &status); err != nil {
		return err
	}
	if status.Phase != "Running" {
		return fmt.Errorf("the Pod %s: %s", name, pod.Status)
	}
	return nil
}

// nodeReady tells, with an error, whether a kubelet has not yet said since a
// time that its Node is Ready: what it said before an earlier end stays.
func (c *client) nodeReady(ctx context.Context, name string, since time.Time) error {
	var node struct {
		Status struct {
			Conditions []struct {
				Type, Status, Message string
				LastHeartbeatTime     time.Time
			} `json:"conditions"`
		} `json:"status"`
	}
	if err := c.get(ctx, "/api/v1/nodes/"+name, &node); err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type != "Ready" {
			continue
		}
		// Times of the API have whole seconds.
		if condition.Status == "True" && !condition.LastHeartbeatTime.Before(since.Truncate(time.Second)) {
			return nil
		}
		return fmt.Errorf("the condition is %s, reported at %v: %s", condition.Status, condition.LastHeartbeatTime, condition.Message)
	}
	return errors.New("the Node says nothing of being Ready")
}
