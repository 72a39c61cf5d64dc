/*
 * The commit protocol of jobsys: lease, attempt, commit, adoption. How to run it, what it leaves out, and what was found: README.md.
 *
 * A name behind "@" is that of the function or class of jobsys that the step is; tests/model holds each of them against the code.
 * Each `atomic` is one operation of the storage, or work in memory between two of them. Before each, the leader may crash, and
 * between any two of them a leader may sleep for as long as it pleases while another takes over: that makes it a zombie.
 *
 *   JOBS    jobs, each with an input that its commit deletes
 *   EPOCHS  leaders in all; nobody crashes or replaces the last one: "the crashes have stopped"
 *   SLOTS   leaders that live at the same time
 *   TRIES   attempts of a job a leader
 *   MUTANT_… a protocol with one rule left out: spin must find what that breaks
 */

#ifndef JOBS
#define JOBS 1
#endif
#ifndef EPOCHS
#define EPOCHS 3
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef TRIES
#define TRIES 1
#endif

#define ATTEMPTS (EPOCHS * TRIES)
#define SEGMENTS (EPOCHS * (1 + JOBS * TRIES) + JOBS)
#define TOKEN(epoch, try) (((epoch) - 1) * TRIES + (try))   /* names an attempt among all of all leaders; 0 is none */
#define BIT(token) (1 << ((token) - 1))
#define AT(segment, job) ((segment) * JOBS + (job))

/* The store. */
byte lease;                              /* the last epoch that was taken */
byte owner[EPOCHS + 1];                  /* who took it */
byte writer[SEGMENTS + 2];               /* of each segment of the journal, the epoch; 0: it is not there */
byte committed[(SEGMENTS + 2) * JOBS];   /* its Committed, by job: the token */
byte failed[(SEGMENTS + 2) * JOBS];      /* its AttemptFailed */
byte segments;                           /* the last one */
short files[JOBS];                       /* attempts of which values and files are there */
short left[JOBS];                        /* attempts of which a commit is there */
byte slot[JOBS];                         /* MUTANT_COMMIT_PER_JOB: the one commit that a job can have there */

/* Between leader and workers. */
short ordered[JOBS];                     /* attempts whose order a worker has */
short reported[JOBS];                    /* attempts whose report is on its way to their leader */

/* What the properties speak of; no step looks at it. */
byte won[JOBS];                          /* the attempt whose commit counts, by the journal */
byte acted[JOBS];                        /* the commit that somebody acted on or was told of */
bool finished;                           /* a leader handed out the result */

/* Create once: a refusal may be one's own write whose answer was lost. @jobsys.jobstores.base:JobStore._create_once */
#ifdef MUTANT_NO_READ_BACK
#define OWN(found, mine) false
#else
#define OWN(found, mine) ((found) == (mine))
#endif

#ifdef MUTANT_NO_FENCE
#define FREE(segment) true
#define ANSWER_LOST false
#else
#define FREE(segment) (writer[segment] == 0)
#define ANSWER_LOST true
#endif

#if JOBS == 1
#define PENDING (commit[0] != 0 || failure[0] != 0)
#define LOST (lost[0] != 0)
#define ALL_DONE (done[0] != 0)
#define GAVE_UP (tries[0] == TRIES && done[0] == 0 && out[0] == 0)
#define NOTHING_OUT (out[0] == 0)
#define ADOPTED (adopted[0] != 0)
#else
#define PENDING (commit[0] != 0 || failure[0] != 0 || commit[1] != 0 || failure[1] != 0)
#define LOST (lost[0] != 0 || lost[1] != 0)
#define ALL_DONE (done[0] != 0 && done[1] != 0)
#define GAVE_UP ((tries[0] == TRIES && done[0] == 0 && out[0] == 0) || (tries[1] == TRIES && done[1] == 0 && out[1] == 0))
#define NOTHING_OUT (out[0] == 0 && out[1] == 0)
#define ADOPTED (adopted[0] != 0 || adopted[1] != 0)
#endif

#define STEP if :: true :: epoch < EPOCHS -> goto crashed fi

/* @jobsys.jobstores.base:JobStore.delete_files_of */
inline delete_files_of(job, token) {
    assert(won[job] != token);           /* promise 1: what belongs to a commit that counts stays */
    files[job] = files[job] & ~BIT(token)
}

/* @jobsys.jobstores.base:JobStore.append */
inline append(segment) {
    assert(segment <= SEGMENTS);
    assert(writer[segments] <= epoch);   /* promise 2: behind a later leader's fence nobody writes */
    writer[segment] = epoch;
    segments = (segment > segments -> segment : segments);
    for (j : 0 .. JOBS - 1) {
        committed[AT(segment, j)] = commit[j];
        failed[AT(segment, j)] = failure[j];
        if
        :: commit[j] != 0 ->
            assert(won[j] == 0);         /* promise 1: at most one commit of a job */
            assert(files[j] & BIT(commit[j]));   /* … with all that belongs to it */
            won[j] = commit[j]
        :: else
        fi;
        n = 1; a = 0;                    /* promise 1: what was acted on is what the journal says, now and for ever */
        do
        :: n <= segments -> a = (a == 0 -> committed[AT(n, j)] : a); n++
        :: else -> break
        od;
        assert(acted[j] == 0 || acted[j] == a)
    }
    j = 0; n = 0; a = 0
}

inline written() {
    last++;
    for (j : 0 .. JOBS - 1) { commit[j] = 0; failure[j] = 0 }
    j = 0
}

/* @jobsys.journal:Journal.flush @jobsys.errors:LeaseLostError */
inline flush() {
    do
    :: atomic {
        STEP;
        if
        :: FREE(last + 1) -> d_step { append(last + 1) };
            if
            :: d_step { written() }; break
            :: ANSWER_LOST               /* it is asked again */
            fi
        :: !FREE(last + 1) && OWN(writer[last + 1], epoch) -> d_step { written() }; break
        :: else -> goto crashed          /* LeaseLostError */
        fi }
    od
}

/* @jobsys.progress:Discard */
inline discard_objects() {
    atomic {
        STEP;
        d_step {
            for (j : 0 .. JOBS - 1) {
                /* promise 2: who acts, acts on the history that counts */
                assert(done[j] == 0 || done[j] == won[j]);
                acted[j] = done[j];
                if :: discard[j] -> assert(won[j] != 0); discard[j] = false :: else fi   /* promise 1: an attempt may yet need it */
            }
            j = 0
        }
    }
}

/* What follows from what is durable now. @jobsys.leader.leader:Leader._act */
inline _act() {
    discard_objects();
    if
    :: LOST ->
        atomic {
            STEP;
            d_step {
                for (j : 0 .. JOBS - 1) {
                    for (a : 1 .. ATTEMPTS) {
                        if :: lost[j] & BIT(a) -> delete_files_of(j, a) :: else fi
                    }
                    lost[j] = 0
                }
                j = 0; a = 0
            }
        }
    :: else
    fi
}

/* @jobsys.leader.leader:Leader._submit @jobsys.leader.attempts:Attempts.order @jobsys.progress:Submit */
#define SUBMIT(job) \
    done[job] == 0 && out[job] == 0 && failure[job] == 0 && tries[job] < TRIES -> \
        tries[job]++; out[job] = TOKEN(epoch, tries[job]); ordered[job] = ordered[job] | BIT(out[job])

/* @jobsys.leader.leader:Leader._completed @jobsys.leader.leader:Leader._commit @jobsys.events:Committed */
#define COMPLETED(job) \
    out[job] != 0 && (reported[job] & BIT(out[job])) -> \
        commit[job] = out[job]; done[job] = out[job]; discard[job] = true; out[job] = 0

/* Lost, or its own failure: all the same here. @jobsys.leader.leader:Leader._ended @jobsys.leader.leader:Leader._fail @jobsys.events:AttemptFailed */
#define FAILED(job) \
    out[job] != 0 && (epoch < EPOCHS || tries[job] < TRIES) -> \
        failure[job] = out[job]; lost[job] = lost[job] | BIT(out[job]); out[job] = 0

/* @jobsys.jobstores.base:JobStore.delete */
inline delete_adopted() {
    atomic {
        STEP;
        d_step {
            for (j : 0 .. JOBS - 1) {
                for (a : 1 .. ATTEMPTS) {
#ifdef MUTANT_COMMIT_PER_JOB
                    if
                    :: adopted[j] && slot[j] == a ->     /* whatever lies there by now */
#else
                    if
                    :: (adopted[j] & BIT(a)) && (left[j] & BIT(a)) ->
#endif
                        /* promise 1: a commit that was left is taken in, or loses to another one, or its attempt was over before */
                        n = 1;
                        do
                        :: n <= segments && failed[AT(n, j)] != a -> n++
                        :: else -> break
                        od;
                        assert(won[j] != 0 || n <= segments);
                        n = 0;
                        left[j] = left[j] & ~BIT(a);
                        slot[j] = 0
                    :: else
                    fi
                }
                adopted[j] = 0
            }
            j = 0; a = 0; n = 0
        }
    }
}

/* Which commits there are. @jobsys.jobstores.base:JobStore.commits */
inline commits() {
    atomic {
        STEP;
        d_step {
            for (j : 0 .. JOBS - 1) {
#ifdef MUTANT_COMMIT_PER_JOB
                adopted[j] = (slot[j] != 0 -> BIT(slot[j]) : 0)
#else
                adopted[j] = left[j]
#endif
            }
            j = 0
        }
    }
}

/* @jobsys.journal:attempts_over @jobsys.leader.leader:Leader._adopt_commits */
inline judge_commits() {
    atomic {
        STEP;
        d_step {
            for (j : 0 .. JOBS - 1) {
                for (a : 1 .. ATTEMPTS) {
                    if
                    :: adopted[j] & BIT(a) ->
                        n = 1;
                        do
                        :: n <= segments && failed[AT(n, j)] != a && committed[AT(n, j)] != a -> n++
                        :: else -> break
                        od;
                        if
#ifndef MUTANT_TAKEN_IN_TWICE
                        :: n <= segments && committed[AT(n, j)] == a      /* taken in before: its files stay */
#else
                        :: n <= segments && committed[AT(n, j)] == a -> lost[j] = lost[j] | BIT(a)
#endif
#ifndef MUTANT_ADOPT_BLIND
                        :: n <= segments && failed[AT(n, j)] == a -> lost[j] = lost[j] | BIT(a)
#else
                        :: n <= segments && failed[AT(n, j)] == a && done[j] == 0 -> commit[j] = a; done[j] = a; discard[j] = true
                        :: n <= segments && failed[AT(n, j)] == a && done[j] != 0 -> lost[j] = lost[j] | BIT(a)
#endif
                        :: n > segments && done[j] == 0 -> commit[j] = a; done[j] = a; discard[j] = true
#ifndef MUTANT_SECOND_COMMIT
                        :: n > segments && done[j] != 0 -> lost[j] = lost[j] | BIT(a)
#else
                        :: n > segments && done[j] != 0 -> commit[j] = a; done[j] = a; discard[j] = true
#endif
                        fi;
                        n = 0
                    :: else
                    fi
                }
            }
            j = 0; a = 0
        }
    }
}

proctype Leader(byte me) {
    byte epoch, last, j, n, a;
    byte done[JOBS], out[JOBS], tries[JOBS], commit[JOBS], failure[JOBS];
    short lost[JOBS], adopted[JOBS];
    bool discard[JOBS];

end_idle:
    /* @jobsys.leader.lease:acquire @jobsys.jobstores.base:JobStore.last_lease; who lives may be taken for dead */
    if
    :: atomic { lease < EPOCHS && !finished -> epoch = lease + 1 }
    :: atomic { finished || (lease == EPOCHS) -> goto end_over }
    fi;

take_lease:                              /* @jobsys.jobstores.base:JobStore.take_lease */
    atomic {                             /* no STEP: who crashes before has changed nothing */
        if
        :: owner[epoch] == 0 ->
            owner[epoch] = me;
            lease = epoch;
            if
            :: true
            :: true -> goto take_lease   /* the answer was lost: it is asked again */
            fi
        :: owner[epoch] != 0 && OWN(owner[epoch], me)
        :: else -> goto crashed          /* LeaderRunningError */
        fi
    }

replay:                                  /* @jobsys.journal:replay */
    atomic {
        STEP;
        d_step {
            do
            :: last < segments ->
                last++;
                for (j : 0 .. JOBS - 1) { done[j] = (done[j] == 0 -> committed[AT(last, j)] : done[j]) }
            :: else -> break
            od;
            j = 0
        }
    }

take_over:                               /* @jobsys.journal:take_over @jobsys.events:LeaderStarted */
#ifndef MUTANT_OLD_EPOCH
    if
    :: writer[last] > epoch -> goto crashed      /* LeaseLostError */
    :: else
    fi;
#endif
    do
    :: atomic {
        STEP;
        if
        :: FREE(last + 1) -> d_step { append(last + 1) };
            if
            :: d_step { written() }; break
            :: ANSWER_LOST
            fi
        :: !FREE(last + 1) && OWN(writer[last + 1], epoch) -> d_step { written() }; break
        :: !FREE(last + 1) && writer[last + 1] < epoch ->        /* an earlier leader was still writing */
            d_step {
                last++;
                for (j : 0 .. JOBS - 1) { done[j] = (done[j] == 0 -> committed[AT(last, j)] : done[j]) }
                j = 0
            }
        :: else -> goto crashed
        fi }
    od;

_adopt_commits:                          /* @jobsys.leader.leader:Leader.start */
    commits();
    if
    :: ADOPTED ->
        judge_commits();
#ifdef MUTANT_DELETE_BEFORE_FLUSH
        delete_adopted();
#endif
        if :: PENDING -> flush() :: else fi;
        _act();
        delete_adopted()
    :: else -> discard_objects()         /* of attempts that are over there is none yet */
    fi;

    /* @jobsys.leader.leader:Leader.run */
    do
    :: atomic { SUBMIT(0) }
    :: atomic { COMPLETED(0) }
    :: atomic { FAILED(0) }
#if JOBS == 2
    :: atomic { SUBMIT(1) }
    :: atomic { COMPLETED(1) }
    :: atomic { FAILED(1) }
#endif
#ifdef MUTANT_EFFECTS_BEFORE_FLUSH
    :: PENDING -> _act(); flush()
#else
    :: PENDING -> flush(); _act()
#endif
    :: atomic { !PENDING && ALL_DONE -> finished = true; goto crashed }
    :: atomic { !PENDING && GAVE_UP && NOTHING_OUT && epoch < EPOCHS -> goto crashed }
    :: epoch < EPOCHS -> goto crashed
    od;

crashed:                                 /* or it left; what it had in memory is gone. @jobsys.leader.leader:Leader.close */
    skip;
    d_step {
        epoch = 0; last = 0; j = 0; n = 0; a = 0;
        for (j : 0 .. JOBS - 1) {
            done[j] = 0; out[j] = 0; tries[j] = 0; commit[j] = 0; failure[j] = 0; lost[j] = 0; adopted[j] = 0; discard[j] = false
        }
        j = 0
    };
    goto end_idle;
end_over:
    skip
}

/* One attempt, from its order to its report; it may outlive its leader. */
proctype Worker(byte job; byte token) {
end_idle:
    atomic { (ordered[job] & BIT(token)) -> ordered[job] = ordered[job] & ~BIT(token) };
write:                                   /* @jobsys.jobstores.base:JobStore.write_value @jobsys.jobstores.base:JobStore.write_file @jobsys.jobstores.base:JobStore.settle */
    files[job] = files[job] | BIT(token);
    if
    :: atomic { reported[job] = reported[job] | BIT(token) }     /* @jobsys.worker.execute:JobExecutor.run */
    :: atomic { token < ATTEMPTS -> skip };                      /* the leader is gone, or seems so */
undelivered:                             /* @jobsys.worker.execute:JobExecutor.undelivered @jobsys.jobstores.base:JobStore.put_commit */
#ifdef MUTANT_COMMIT_PER_JOB
        atomic {
            if
            :: slot[job] == 0 ->
                slot[job] = token;
                if
                :: goto end_left
                :: goto undelivered
                fi
            :: else
            fi };
        atomic {
            if
            :: slot[job] == token || slot[job] == 0
            :: else -> delete_files_of(job, token)
            fi }
#else
        atomic {
            left[job] = left[job] | BIT(token);
            if
            :: goto end_left
            :: goto again                /* the answer was lost: it is asked again */
            fi };
again:
        left[job] = left[job] | BIT(token)
#endif
    fi;
end_left:
    skip
}

init {
    byte i, job;
    atomic {
        for (job : 0 .. JOBS - 1) {
            for (i : 1 .. ATTEMPTS) { run Worker(job, i) }
        };
        for (i : 1 .. SLOTS) { run Leader(i) }
        i = 0; job = 0
    }
}

/* What was begun ends, once the crashes have stopped. */
ltl ends { <> finished }
