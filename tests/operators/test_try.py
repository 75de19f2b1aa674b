def test_plain(push, sluice_sandbox, clock):
    life=push(); life.go(); print(life.state, life.result, life.log, clock.naps)
    import time; t=time.time()
    life=push(deferrable=True); life.defer(); print(time.time()-t); life.fire(); print(time.time()-t);life.leg(); print(time.time()-t);print(life.state, life.result, life.log, clock.naps, life.error, life.journal)
    life.clear().go()
    print(life.state, life.journal)
    life=push()
    with life.death("after asking"): life.go()
    life.retry()
    print(life.log)
    assert 0
