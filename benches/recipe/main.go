// Command recipe takes locks the way etcd's own Go client does, in its package concurrency.
//
// The load generator starts it, and measures etcd while it works. It prints `ready` when something
// is about to be measured, begins at a line `go`, and prints what came of it:
//
//	recipe -endpoint HOST:PORT uncontended   `done OPERATIONS P50 P99`, the latter in microseconds
//	recipe -endpoint HOST:PORT hand-off      `done HAND-OFFS`, over and over
//
// It ends with its input.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"golang.org/x/sync/errgroup"
)

// How many locks take turns, so that none is still being released when it is taken.
const locks = 100

// Seconds that a session lives without its process: longer than a run, so that nothing depends on
// renewals.
const ttl = 600

// How often it is looked whether all wait.
const poll = 5 * time.Millisecond

type options struct {
	endpoint string
	seconds  int
	waiters  int
}

func main() {
	var given options
	flag.StringVar(&given.endpoint, "endpoint", "", "where etcd listens")
	flag.IntVar(&given.seconds, "seconds", 4, "how long to take and release locks")
	flag.IntVar(&given.waiters, "waiters", 100, "how many wait for the lock that is handed on")
	flag.Parse()
	err := run(context.Background(), given, flag.Arg(0))
	if err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, given options, workload string) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{given.endpoint}})
	if err != nil {
		return err
	}
	defer client.Close()
	input := bufio.NewReader(os.Stdin)
	begin := func() error {
		fmt.Println("ready")
		_, err := input.ReadString('\n')
		return err
	}
	switch workload {
	case "uncontended":
		return uncontended(ctx, client, given, begin)
	case "hand-off":
		return handOff(ctx, client, given, begin)
	default:
		return fmt.Errorf("unknown workload %q", workload)
	}
}

// uncontended takes and releases locks that nobody else wants, one after the other, over a session
// that is open.
func uncontended(ctx context.Context, client *clientv3.Client, given options, begin func() error) error {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(ttl))
	if err != nil {
		return err
	}
	next := 0
	takeFor := func(duration time.Duration) ([]time.Duration, error) {
		var each []time.Duration
		for end := time.Now().Add(duration); ; next++ {
			begun := time.Now()
			if begun.After(end) {
				return each, nil
			}
			mutex := concurrency.NewMutex(session, fmt.Sprintf("/locks/%d", next%locks))
			if err := mutex.Lock(ctx); err != nil {
				return nil, err
			}
			if err := mutex.Unlock(ctx); err != nil {
				return nil, err
			}
			each = append(each, time.Since(begun))
		}
	}
	if _, err := takeFor(time.Second); err != nil {
		return err
	}
	if err := begin(); err != nil {
		return err
	}
	each, err := takeFor(time.Duration(given.seconds) * time.Second)
	if err != nil {
		return err
	}
	slices.Sort(each)
	quantile := func(share float64) int64 {
		return each[int(share*float64(len(each)-1))].Microseconds()
	}
	fmt.Println("done", len(each), quantile(0.5), quantile(0.99))
	return nil
}

// handOff lets one after the other have a lock for which all wait, each with a session of its own.
func handOff(ctx context.Context, client *clientv3.Client, given options, begin func() error) error {
	const lock = "/locks/wanted"
	sessions := make([]*concurrency.Session, given.waiters+1)
	for i := range sessions {
		session, err := concurrency.NewSession(client, concurrency.WithTTL(ttl))
		if err != nil {
			return err
		}
		sessions[i] = session
	}
	for {
		first := concurrency.NewMutex(sessions[0], lock)
		if err := first.Lock(ctx); err != nil {
			return err
		}
		waiting, ctx := errgroup.WithContext(ctx)
		for _, session := range sessions[1:] {
			waiting.Go(func() error {
				mutex := concurrency.NewMutex(session, lock)
				if err := mutex.Lock(ctx); err != nil {
					return err
				}
				return mutex.Unlock(ctx)
			})
		}
		if err := untilQueued(ctx, client, lock, len(sessions)); err != nil {
			return err
		}
		if err := begin(); err != nil {
			return err
		}
		if err := first.Unlock(ctx); err != nil {
			return err
		}
		if err := waiting.Wait(); err != nil {
			return err
		}
		fmt.Println("done", given.waiters)
	}
}

// untilQueued waits until so many have a place in the queue of a lock.
func untilQueued(ctx context.Context, client *clientv3.Client, lock string, count int) error {
	for {
		queue, err := client.Get(ctx, lock+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		if queue.Count == int64(count) {
			return nil
		}
		time.Sleep(poll)
	}
}
