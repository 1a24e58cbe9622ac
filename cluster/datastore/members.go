package datastore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
)

// Member is a server that keeps the database.
type Member struct {
	ID   uint64
	Name string // empty until it has started
	API  string // host:port, empty until it has started
	Peer string // host:port
	Vote bool
}

var (
	// ErrNotServing is returned while the member has not started.
	ErrNotServing = errors.New("etcd is starting")
	// ErrJoining is returned while another server joins.
	ErrJoining = errors.New("another server is joining: one can at a time")
	// ErrRunning is wrapped when a name is asked for that a running server has.
	ErrRunning = errors.New("a server of this name is running")
)

const (
	// maintenancePause is how soon a learner that has caught up gets its vote.
	maintenancePause = 2 * time.Second
	// unusedAfter is when a member that never started gives up its place: there
	// can be one learner at a time.
	unusedAfter = 10 * time.Minute
	// defragmentEvery, and only if half of the file and at least defragmentFrom
	// bytes of it are free: no transaction passes meanwhile.
	defragmentEvery = time.Hour
	defragmentFrom  = 64 << 20
	dialTimeout     = 3 * time.Second
	// changeTimeout ends the wait for a change of the members: raft drops one
	// without a word while another is under way.
	changeTimeout = 10 * time.Second
)

// Members are all members, whether they run or not.
func (e *Etcd) Members() ([]Member, error) {
	server := e.server.Load()
	if server == nil {
		return nil, ErrNotServing
	}
	var all []Member
	for _, m := range server.Cluster().Members() {
		all = append(all, Member{ID: uint64(m.ID), Name: m.Name, API: address(m.ClientURLs), Peer: address(m.PeerURLs), Vote: !m.IsLearner})
	}
	return all, nil
}

// Admit gives a server that has no data a place, without a vote for now, and
// returns where all members are. It may be asked again by the same server. The
// place of an earlier server of the name is taken away, unless that one runs.
func (e *Etcd) Admit(ctx context.Context, name, peerAddress string) ([]string, error) {
	server := e.server.Load()
	if server == nil {
		return nil, ErrNotServing
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	members := server.Cluster().Members()
	for _, m := range members {
		samePlace := address(m.PeerURLs) == peerAddress
		switch {
		case samePlace && m.Name == "":
			return peersOf(members), nil
		case !samePlace && m.Name != name:
		case m.ID == server.MemberID() || answers(ctx, address(m.PeerURLs)):
			return nil, fmt.Errorf("%w: %s at %s: every server needs a name and an address of its own", ErrRunning, m.Name, address(m.PeerURLs))
		default:
			slog.Info("the place of an earlier server is given away", "name", m.Name, "peer", address(m.PeerURLs))
			if _, err := server.RemoveMember(ctx, uint64(m.ID)); err != nil {
				return nil, fmt.Errorf("remove the earlier server %s: %w", m.Name, err)
			}
		}
	}
	if slices.ContainsFunc(members, func(m *membership.Member) bool {
		return m.IsLearner && address(m.PeerURLs) != peerAddress && m.Name != name
	}) {
		return nil, ErrJoining
	}
	now := time.Now()
	urls := types.URLs{peerURL(peerAddress)}
	members, err := server.AddMember(ctx, *membership.NewMemberAsLearner("", urls, "", &now))
	if err != nil {
		return nil, fmt.Errorf("add the server %s: %w", name, err)
	}
	slog.Info("a server joins", "name", name, "peer", peerAddress)
	return peersOf(members), nil
}

// Remove takes the place of a server away. It is no error if that is gone.
// This server does not remove itself: others do. While a server that was away
// is new among the others, etcd removes none.
func (e *Etcd) Remove(ctx context.Context, m Member) error {
	server := e.server.Load()
	if server == nil {
		return ErrNotServing
	}
	if m.ID == uint64(server.MemberID()) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	_, err := server.RemoveMember(ctx, m.ID)
	if errors.Is(err, membership.ErrIDRemoved) || errors.Is(err, membership.ErrIDNotFound) {
		return nil // another server was faster
	}
	if err != nil {
		return fmt.Errorf("remove the server %s from etcd: %w", m.Name, err)
	}
	slog.Info("a server was removed from the cluster", "name", m.Name)
	return nil
}

func peersOf(members []*membership.Member) []string {
	var peers []string
	for _, m := range members {
		peers = append(peers, address(m.PeerURLs))
	}
	return peers
}

// answers tells whether anybody listens at an address.
func answers(ctx context.Context, address string) bool {
	dialer := net.Dialer{Timeout: dialTimeout}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	connection.Close()
	return true
}

// maintain does what nobody else does for the members until ctx ends.
func (e *Etcd) maintain(ctx context.Context, server *etcdserver.EtcdServer) {
	ticker := time.NewTicker(maintenancePause)
	defer ticker.Stop()
	unused := map[types.ID]time.Time{} // since when a member has not started
	defragmented := time.Now()
	for moved := false; ; {
		if !moved {
			moved = e.tellAddress(ctx, server)
		}
		limited, cancel := context.WithTimeout(ctx, changeTimeout)
		if server.Leader() == server.MemberID() {
			promote(limited, server, unused)
		}
		if time.Since(defragmented) > defragmentEvery {
			defragmented = time.Now()
			tidy(limited, server)
		}
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// tellAddress tells the others where this server is, if it is not where it was.
func (e *Etcd) tellAddress(ctx context.Context, server *etcdserver.EtcdServer) bool {
	own := server.Cluster().Member(server.MemberID())
	if own == nil || slices.Equal(own.PeerURLs, []string{peer(e.Peer)}) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	moved := membership.Member{ID: own.ID, RaftAttributes: membership.RaftAttributes{PeerURLs: []string{peer(e.Peer)}, IsLearner: own.IsLearner}}
	if _, err := server.UpdateMember(ctx, moved); err != nil {
		if ctx.Err() == nil {
			slog.Warn("the other servers could not be told this server's new address", "address", e.Peer, "error", err)
		}
		return false
	}
	slog.Info("the other servers know this server's new address", "address", e.Peer)
	return true
}

// promote gives learners that have caught up a vote, and takes the place of
// those away that do not come.
func promote(ctx context.Context, server *etcdserver.EtcdServer, unused map[types.ID]time.Time) {
	for _, m := range server.Cluster().Members() {
		if !m.IsLearner {
			continue
		}
		if m.Name == "" {
			since, seen := unused[m.ID]
			if !seen {
				unused[m.ID] = time.Now()
			} else if time.Since(since) > unusedAfter {
				slog.Warn("a server that was to join did not come: its place is free again", "peer", address(m.PeerURLs))
				if _, err := server.RemoveMember(ctx, uint64(m.ID)); err == nil {
					delete(unused, m.ID)
				}
			}
			continue
		}
		switch _, err := server.PromoteMember(ctx, uint64(m.ID)); {
		case err == nil:
			slog.Info("a server has caught up and has a vote", "name", m.Name)
		case !errors.Is(err, etcderrors.ErrLearnerNotReady) && !errors.Is(err, context.Canceled):
			slog.Warn("a server has no vote yet", "name", m.Name, "error", err)
		}
	}
}

// tidy gives space back that compaction has freed, and has etcd take writes
// again that its quota refused.
func tidy(ctx context.Context, server *etcdserver.EtcdServer) {
	backend := server.Backend()
	if size, used := backend.Size(), backend.SizeInUse(); size-used > defragmentFrom && used < size/2 {
		if err := server.Defragment(); err != nil {
			slog.Warn("etcd's file could not be defragmented", "error", err)
			return
		}
		slog.Info("etcd's file was defragmented", "bytes before", size, "bytes now", server.Backend().Size())
	}
	if server.Backend().SizeInUse() > quota/2 {
		return
	}
	for _, alarm := range server.Alarms() {
		if alarm.GetAlarm() != etcdserverpb.AlarmType_NOSPACE {
			continue
		}
		_, err := server.Alarm(ctx, &etcdserverpb.AlarmRequest{
			Action: etcdserverpb.AlarmRequest_DEACTIVATE, MemberID: alarm.MemberID, Alarm: alarm.Alarm,
		})
		if err != nil && ctx.Err() == nil {
			slog.Warn("etcd refuses writes although it has space again", "error", err)
		}
	}
}
