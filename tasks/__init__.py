"""The seam: Prefect tasks and Ray actors around `storage` and `model`.

A turn        work (what is asked), ingest, parent, prefetch, turn with recall (text edits) and views; edit, desk,
              commit; gate; stitch with finishing; publish with account and replay
Actors        actors; cluster, pool and editor_handle start, lease and watch them; weights
A catalog     catalog, catalog_work, catalog_plan, catalog_board, catalog_told, catalog_measure
Training      prepare, training_agreement, train; extend, extending
Measuring     measure, evaluation_report; proof (of the method, where the truth is known)
Everywhere    progress, terminal, words, metrics, footprint, unsearched, doctor, sessions (told)
"""
