"""Names to arrays and back: video files, the LanceDB memory, the ledger, pages. Numpy and Arrow; no torch.

Video files   probe, packets, time_stamps, source_file, matroska; decoding, encoding, ffmpeg, mux, video; geometry,
              colour, colour_tags, planes; mask, rectangle, picture; segment_file, proxy, vmaf; footage (what is told)
Memory        memory (text edits), views, what both share in remembered and kinds; latents; tables, table_place
What is done  ledger, store, store_lock; making and attempts (of segments), faults; sessions, garbage; archive, exchange
Finished      finished, edited_videos, video_note, originals (what was edited); scores, score_tables
Pages         page, review, camera_page, catalog_page, dataset_page; plot, interval_plot, sheet
Deliveries    delivery, delivery_folder, timeline, sidecar, checksums
Catalogs      catalog (manifests), run_lock, video_states, run_report, calibration, spreadsheet
Training      datasets
Everywhere    content_id, durable, records, address, object_store, foreign_text, redaction
"""
